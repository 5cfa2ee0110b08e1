"""A deadline for sampling: interrupted first, and ended with its process if that does not help.

Counted while the samplers of this pack's models work, for each megapixel that they make, so loading
a model from a cold disk is nobody's fault. There is none unless ``$ZIMAGE_DEADLINES`` sets it;
``./zimage serve`` sets 8 seconds for Turbo on CUDA.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..config import Settings
from ..engine.presets import BASE, TURBO
from ..errors import ZImageError
from . import link, state
from .fuse import LOG, jot
from .jobs import SAMPLERS, Graph, jobs
from .memory import EXECUTE
from .outcomes import failure
from .seam import Function, Patch, Patches
from .worker import NODES, abandon

log = logging.getLogger(__name__)

GRACE = 10.0
"""Seconds between the interruption and the end of the process."""


def part() -> Deadline:
    """The deadlines of the running server."""
    return Deadline(state.server(), state.folder() / LOG, Settings.from_environment().deadlines)


class Deadline(Patches):
    """Watches one prompt at a time; the host runs no more.

    Args:
        server: the host's ``PromptServer``.
        path: log of the fuse.
        limits: seconds by ``variant.device``.
        clock: monotonic time.
    """

    def __init__(
        self,
        server: Any,
        path: Path,
        limits: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(Patch(EXECUTE, self._wrap_execute), Patch(NODES, self._wrap_nodes))
        self.server, self.path, self.limits, self.clock = server, path, limits, clock
        self.error: ZImageError | None = None
        self._allowed = 0.0
        self._fired = False
        self._deciding = threading.Lock()

    def judge(self, prompt: Graph) -> ZImageError | None:
        """What a prompt would fail with; sets the time it has. None where nothing limits it."""
        device = "cpu" if _on_cpu() else "cuda"
        self._allowed, error = 0.0, None
        for job in jobs(prompt):
            variant = TURBO if job.branches == 1 else BASE
            limit = self.limits.get(f"{variant}.{device}", 0.0)
            if not limit:
                return None
            self._allowed += limit * max(1.0, job.width * job.height * job.batch / 2**20)
            about = {"variant": variant, "device": device, "limit": limit}
            error = ZImageError("ZI-DEADLINE", **about, allowed=self._allowed)
        return error

    def _wrap_execute(self, original: Function) -> Function:
        def execute(executor: Any, prompt: Graph, prompt_id: str, *rest: Any, **named: Any) -> Any:
            self._fired = False
            self.error = self.judge(prompt) if self.limits else None
            try:
                return original(executor, prompt, prompt_id, *rest, **named)
            finally:
                error, self.error = self.error, None
                if self._fired and error is not None and not executor.success:
                    told = failure(prompt_id, error).messages[-1]
                    executor.status_messages.append(told)
                    self.server.send_sync(*told, self.server.client_id)

        return execute

    def _wrap_nodes(self, original: Function) -> Function:
        async def nodes(prompt_id: str, unique_id: str, obj: Any, *rest: Any, **named: Any) -> Any:
            error = self.error
            if error is None or getattr(obj, "__name__", type(obj).__name__) not in SAMPLERS:
                return await original(prompt_id, unique_id, obj, *rest, **named)
            began, ended = self.clock(), threading.Event()
            watch = threading.Thread(
                target=self._watch, args=(prompt_id, error, ended), daemon=True
            )
            watch.start()
            try:
                return await original(prompt_id, unique_id, obj, *rest, **named)
            finally:
                with self._deciding:
                    ended.set()
                self._allowed -= self.clock() - began

        return nodes

    def _watch(self, prompt_id: str, error: ZImageError, ended: threading.Event) -> None:
        """Interrupt a sampler that works too long; end its process if it does not react."""
        for wait, act in ((self._allowed, self._interrupt), (GRACE, self._end)):
            ended.wait(max(wait, 0.0))
            with self._deciding:  # not the next prompt instead
                if ended.is_set():
                    return
                act(prompt_id, error)

    def _interrupt(self, prompt_id: str, error: ZImageError) -> None:
        self._fired = True
        log.warning("Z-Image: %s is interrupted: %s", prompt_id, error)
        jot(self.path, prompt_id, "-", error.code, "interrupted")
        sys.modules["nodes"].interrupt_processing()

    def _end(self, prompt_id: str, error: ZImageError) -> None:
        """The prompt has failed, and its process is in the way."""
        jot(self.path, prompt_id, "-", error.code, "ended")
        abandon(self.server.prompt_queue, error)
        if not link.ask_to_be_killed(f"{prompt_id} does not end"):
            log.error("Z-Image: %s does not end, and no guardian replaces this process", prompt_id)


def _on_cpu() -> bool:
    management = sys.modules.get("comfy.model_management")
    return getattr(getattr(management, "cpu_state", None), "name", "") == "CPU"

"""A deadline for sampling: interrupted first, and ended with its process if that does not help.

Counted for each sampler while it works with a model of this pack's loader, for each megapixel that
it makes, so loading a model from a cold disk is nobody's fault. There is none unless
``$ZIMAGE_DEADLINES`` sets it; ``./zimage serve`` with the embedded ComfyUI sets 8 seconds for Turbo
on CUDA.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from time import sleep
from typing import Any

from ..config import Settings
from ..engine.presets import OPTION
from ..errors import ZImageError
from . import link, state
from .fuse import LOG, jot
from .jobs import SAMPLERS
from .outcomes import failure
from .seam import Argument, Function, Patch, Patches, Seam
from .worker import abandon

log = logging.getLogger(__name__)

EXECUTE = Seam("execution", "PromptExecutor.execute", ("self", "prompt_id"))
NODES = Seam("execution", "_async_map_node_over_list", ("prompt_id", "obj", "input_data_all"))
GRACE = "grace"
"""Among the limits: seconds between the interruption and the end of the process."""
LIMITS = {GRACE: 10.0}
MOMENT = 10.0
"""Seconds in which a guardian that was asked to kills this process; it takes half a second."""
PIXELS = 8
"""Pixels a side that one value of a latent stands for."""


def part() -> Deadline:
    """The deadlines of the running server."""
    return Deadline(state.server(), state.folder() / LOG, Settings.from_environment().deadlines)


class Deadline(Patches):
    """Watches one prompt at a time; the host runs no more.

    Args:
        server: the host's ``PromptServer``.
        path: log of the fuse.
        limits: seconds by ``variant.device``, and :data:`GRACE`.
    """

    def __init__(self, server: Any, path: Path, limits: Mapping[str, float]) -> None:
        super().__init__(Patch(EXECUTE, self._wrap_execute), Patch(NODES, self._wrap_nodes))
        self.server, self.path, self.limits = server, path, LIMITS | dict(limits)
        self.error: ZImageError | None = None  # of a sampler that was interrupted
        self._deciding = threading.Lock()

    def judge(self, inputs: Mapping[str, list[Any]]) -> ZImageError | None:
        """What a sampler would fail with, ``allowed`` in it; None where nothing limits it.

        Args:
            inputs: as the host gives them to a node, which runs once for each in the longest list.
        """
        allowed, error = 0.0, None
        for number in range(max(map(len, inputs.values()), default=0)):
            one = {n: found[min(number, len(found) - 1)] for n, found in inputs.items() if found}
            variant = getattr(one.get("model"), "model_options", {}).get(OPTION)
            latent = one.get("latent_image")
            shape = getattr(latent.get("samples"), "shape", ()) if isinstance(latent, dict) else ()
            if variant is None or len(shape) < 4:
                return None
            device = one["model"].load_device.type
            limit = self.limits.get(f"{variant}.{device}", 0.0)
            if not limit:
                return None
            pixels = shape[0] * shape[-2] * shape[-1] * PIXELS**2
            allowed += limit * max(1.0, pixels / 2**20)
            about = {"variant": variant, "device": device, "limit": limit}
            error = ZImageError("ZI-DEADLINE", **about, allowed=allowed)
        return error

    def _wrap_execute(self, original: Function) -> Function:
        id = Argument(original, "prompt_id")

        def execute(*arguments: Any, **named: Any) -> Any:
            executor, prompt_id = arguments[0], id.of(arguments, named)
            self.error = None
            try:
                return original(*arguments, **named)
            finally:
                error, self.error = self.error, None
                if error is not None and not executor.success:
                    told = failure(prompt_id, error).messages[-1]
                    executor.status_messages.append(told)
                    if self.server.client_id is not None:  # else every page would be told
                        self.server.send_sync(*told, self.server.client_id)

        return execute

    def _wrap_nodes(self, original: Function) -> Function:
        id = Argument(original, "prompt_id")
        node = Argument(original, "obj")
        inputs = Argument(original, "input_data_all")

        async def nodes(*arguments: Any, **named: Any) -> Any:
            obj = node.of(arguments, named)
            known = getattr(obj, "__name__", type(obj).__name__) in SAMPLERS
            error = self.judge(inputs.of(arguments, named)) if known else None
            if error is None:
                return await original(*arguments, **named)
            prompt_id, ended = id.of(arguments, named), threading.Event()
            watch = threading.Thread(
                target=self._watch, args=(prompt_id, error, ended), daemon=True
            )
            watch.start()
            try:
                return await original(*arguments, **named)
            finally:
                with self._deciding:
                    ended.set()

        return nodes

    def _watch(self, prompt_id: str, error: ZImageError, ended: threading.Event) -> None:
        """Interrupt a sampler that works too long; end its process if it does not react."""
        allowed: Any = error.found["allowed"]
        for wait, act in ((allowed, self._interrupt), (self.limits[GRACE], self._end)):
            ended.wait(wait)
            with self._deciding:  # not the next prompt instead
                if ended.is_set():
                    return
                act(prompt_id, error)

    def _interrupt(self, prompt_id: str, error: ZImageError) -> None:
        self.error = error
        log.warning("Z-Image: %s is interrupted: %s", prompt_id, error)
        jot(self.path, prompt_id, "-", error.code, "interrupted")
        sys.modules["nodes"].interrupt_processing()

    def _end(self, prompt_id: str, error: ZImageError) -> None:
        """The prompt has failed, and its process is in the way."""
        jot(self.path, prompt_id, "-", error.code, "ended")
        abandon(self.server.prompt_queue, error)
        if link.ask_to_be_killed(f"任务 {prompt_id} 没有结束 / {prompt_id} does not end"):
            sleep(MOMENT)  # a sampler that returns now waits, and no other prompt begins
        else:
            log.error("Z-Image: %s does not end, and no guardian replaces this process", prompt_id)

"""A deadline for sampling: interrupted first, and ended with its process if that does not help.

Counted for each sampler while it works with a model of this pack's loader. There is none unless
``$ZIMAGE_DEADLINES`` sets it, to one of two kinds:

- A number is honoured as it is: seconds for each megapixel, from the start of the sampler node.
  That includes the move of the model to the device.
- ``auto`` goes by the device's own steps (:mod:`.steps`): no fixed time fits all cards.
  ``./zimage serve`` with the embedded ComfyUI sets it for Turbo on CUDA.

A sampler notices an interrupt at the end of a step. Unless ``grace`` is set, its process is ended
only when a step takes so long that it hangs.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from ...config import Settings
from ...engine.presets import OPTION
from ...errors import ZImageError
from ..base import comfyui
from ..base.hooks import Argument, Function, HookPoint, Patch, Patches
from ..base.refusals import LOG, log_event
from ..guardian_client import link
from ..memory.sampling_jobs import SAMPLERS
from .prompt_events import failure
from .sampler_steps import CALLBACK, FIRST, Steps, counted
from .worker_thread import abandon

log = logging.getLogger(__name__)

EXECUTE = HookPoint("execution", "PromptExecutor.execute", ("self", "prompt_id"))
NODES = HookPoint("execution", "_async_map_node_over_list", ("prompt_id", "obj", "input_data_all"))
GRACE = "grace"
"""Among the limits: seconds between the interruption and the end of the process."""
LEAST_GRACE = 10.0
"""The same where it is not set; a step that has not hung yet gets longer."""
LOOK = 1.0
"""Seconds between two looks at the steps: a quick one brings the end of the next one forward."""
MOMENT = 10.0
"""Seconds in which a guardian that was asked to kills this process; it takes half a second."""
PIXELS = 8
"""Pixels a side that one value of a latent stands for."""


def create() -> Deadline:
    """The deadlines of the running server."""
    settings = Settings.from_environment()
    path = comfyui.folder() / LOG
    return Deadline(comfyui.server(), path, settings.deadlines, settings.auto_deadlines)


@dataclass(frozen=True)
class Limit:
    """The time of one sampler node.

    Attributes:
        variant, device: of its model.
        figure: seconds for each megapixel, None where the device's own steps decide.
        allowed: seconds for all pictures and runs; where the steps decide, for the first step.
        runs: how often the host runs the node.
    """

    variant: str
    device: str
    figure: float | None
    allowed: float
    runs: int

    def due(self, steps: Steps) -> tuple[float, ZImageError]:
        """Return when to interrupt the sampler, and the error that it ends with."""
        names = {"variant": self.variant, "device": self.device}
        if self.figure is not None:
            error = ZImageError("ZI-DEADLINE", **names, limit=self.figure, allowed=self.allowed)
            return steps.started + self.allowed, error
        when, code, seconds = steps.due()
        return when, ZImageError(code, **names, limit=seconds, done=steps.done, total=steps.total)


class Deadline(Patches):
    """Watches one prompt at a time; the host runs no more.

    Args:
        server: the host's ``PromptServer``.
        path: log of the fuse.
        limits: seconds by ``variant.device``, and :data:`GRACE`.
        auto: each ``variant.device`` whose own steps decide, unless ``limits`` has a number.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        server: Any,
        path: Path,
        limits: Mapping[str, float],
        auto: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            Patch(EXECUTE, self._wrap_execute),
            Patch(NODES, self._wrap_nodes),
            Patch(CALLBACK, counted),
        )
        self.server = server
        self.path = path
        self.limits = limits
        self.auto = auto
        self.clock = clock
        self.error: ZImageError | None = None  # of a sampler that was interrupted
        self._deciding = threading.Lock()

    def judge(self, inputs: Mapping[str, list[Any]]) -> Limit | None:
        """Return the limit of a sampler, None where nothing limits it.

        Args:
            inputs: as the host gives them to a node, which runs once for each in the longest list.
        """
        runs = max(map(len, inputs.values()), default=0)
        allowed, limit = 0.0, None
        for number in range(runs):
            run = {n: each[min(number, len(each) - 1)] for n, each in inputs.items() if each}
            variant = getattr(run.get("model"), "model_options", {}).get(OPTION)
            latent = run.get("latent_image")
            shape = getattr(latent.get("samples"), "shape", ()) if isinstance(latent, dict) else ()
            if variant is None or len(shape) < 4:
                return None
            device = run["model"].load_device.type
            figure = self._figure(f"{variant}.{device}")
            if figure == 0:
                return None
            pixels = shape[0] * shape[-2] * shape[-1] * PIXELS**2
            allowed += (FIRST if figure is None else figure) * max(1.0, pixels / 2**20)
            limit = Limit(variant, device, figure, allowed, runs)
        return limit

    def _figure(self, name: str) -> float | None:
        """Return the seconds that are set, 0 for no limit, None where the steps decide."""
        return self.limits.get(name, None if name in self.auto else 0.0)

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
            if getattr(obj, "__name__", type(obj).__name__) not in SAMPLERS:
                return await original(*arguments, **named)
            limit = self.judge(inputs.of(arguments, named))
            ended = threading.Event()
            steps = Steps(clock=self.clock)
            if limit is not None:
                steps = Steps(limit.allowed, limit.runs, self.clock)
                watched = (id.of(arguments, named), limit, steps, ended)
                threading.Thread(target=self._watch, args=watched, daemon=True).start()
            try:
                with steps.observed():
                    return await original(*arguments, **named)
            finally:
                with self._deciding:
                    ended.set()

        return nodes

    def _watch(self, prompt_id: str, limit: Limit, steps: Steps, ended: threading.Event) -> None:
        """Interrupt a sampler that works too long; end its process if it does not react."""
        error = None
        while error is None:
            ended.wait(min(max(0.0, limit.due(steps)[0] - self.clock()), LOOK))
            with self._deciding:  # not the next prompt instead
                if ended.is_set():
                    return
                due, reason = limit.due(steps)
                if self.clock() >= due:
                    error = reason
                    self._interrupt(prompt_id, error)
        ended.wait(self._grace(steps))
        with self._deciding:
            if not ended.is_set():
                self._end(prompt_id, error)

    def _grace(self, steps: Steps) -> float:
        """Return the seconds from the interruption to the end of the process."""
        if GRACE in self.limits:
            return self.limits[GRACE]
        return max(LEAST_GRACE, steps.hangs_at() - self.clock())

    def _interrupt(self, prompt_id: str, error: ZImageError) -> None:
        self.error = error
        log.warning("Z-Image: %s is interrupted: %s", prompt_id, error)
        log_event(self.path, prompt_id, "-", error.code, "interrupted")
        sys.modules["nodes"].interrupt_processing()

    def _end(self, prompt_id: str, error: ZImageError) -> None:
        """The prompt has failed, and its process is in the way."""
        log_event(self.path, prompt_id, "-", error.code, "ended")
        abandon(self.server.prompt_queue, error)
        if link.ask_to_be_killed(f"任务 {prompt_id} 没有结束 / {prompt_id} does not end"):
            sleep(MOMENT)  # a sampler that returns now waits, and no other prompt begins
        else:
            log.error("Z-Image: %s does not end, and no guardian replaces this process", prompt_id)

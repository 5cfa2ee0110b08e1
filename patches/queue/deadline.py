"""A deadline for samplers: first an interrupt, then the end of the process.

The deadline applies to each sampler with a model of this pack's loader. There is none unless
``$ZIMAGE_DEADLINES`` sets one, of two kinds:

- A number is a limit in seconds for each megapixel, from the start of the sampler node. That
  includes the move of the model to the device.
- ``auto`` uses the device's own steps (:mod:`.sampler_steps`), because no fixed time fits all
  cards. ``./zimage serve`` with the embedded ComfyUI sets it for Turbo on CUDA.

A sampler notices an interrupt at the end of a step. Unless ``grace`` is set, its process is ended
only when a step takes so long that the sampler must be hung.
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
from ..base import comfyui, guardian, lifecycle
from ..base.graph import SAMPLERS
from ..base.hooks import Argument, Function, Patch, Patches
from ..base.lifecycle import Subscription
from ..base.prompt_outcome import failure
from ..base.refusals import LOG, log_event
from ..base.registry import About
from .sampler_steps import CALLBACK, FIRST, Steps, counted
from .worker_thread import fail_running

log = logging.getLogger(__name__)

ABOUT = About(
    part="deadline",
    bare_host="A sampler that hangs runs forever, and everybody waits.",
    here=(
        "A limit for each sampler by variant and device, from its own steps or in seconds for each"
        " megapixel (`ZIMAGE_DEADLINES`): first an interrupt, then its process is ended."
    ),
)
RUN = lifecycle.PROMPT_RUNS.needs("self", "prompt_id")
NODE = lifecycle.NODE_RUNS.needs("prompt_id", "obj", "input_data_all")
GRACE = "grace"
"""Key among the limits: seconds between the interrupt and the end of the process."""
MIN_GRACE = 10.0
"""The same where it is not set; a step that does not hang yet gets longer."""
CHECK_SECONDS = 1.0
"""Between two looks at the steps, because a step may shorten the limit of the next one."""
KILL_SECONDS = 10.0
"""In which a guardian kills this process after the request; it takes half a second."""
PIXELS = 8
"""Pixels on each side of one value of a latent."""


def create() -> Deadline:
    """Return the part for the running server."""
    settings = Settings.from_environment()
    path = comfyui.folder() / LOG
    return Deadline(comfyui.server(), path, settings.deadlines, settings.auto_deadlines)


@dataclass(frozen=True)
class Limit:
    """The time of one sampler node.

    Attributes:
        variant: variant of its model.
        device: device of its model.
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
    """Watches one sampler at a time, because the host runs one prompt at a time.

    Args:
        server: the host's ``PromptServer``.
        path: log of refusals.
        limits: seconds by ``variant.device``, and :data:`GRACE`.
        auto: each ``variant.device`` whose own steps decide, unless ``limits`` has a number.
        clock: seconds that never go back.

    Attributes:
        error: why a sampler of the running prompt was interrupted.
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
            Subscription("deadline", RUN, self.report_error),
            Subscription("deadline", NODE, self.watch_sampler),
            Patch(CALLBACK, counted),
        )
        self.server = server
        self.path = path
        self.limits = limits
        self.auto = auto
        self.clock = clock
        self.error: ZImageError | None = None
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
        """Return the configured seconds, 0 for no limit, None where the steps decide."""
        return self.limits.get(name, None if name in self.auto else 0.0)

    def report_error(self, original: Function) -> Function:
        """Stand around a prompt: add the error of an interrupted sampler to its messages."""
        id = Argument(original, "prompt_id")

        def execute(*arguments: Any, **named: Any) -> Any:
            executor, prompt_id = arguments[0], id.of(arguments, named)
            self.error = None
            try:
                return original(*arguments, **named)
            finally:
                error, self.error = self.error, None
                if error is not None and not executor.success:
                    message = failure(prompt_id, error).messages[-1]
                    executor.status_messages.append(message)
                    if self.server.client_id is not None:  # None would send it to every page
                        self.server.send_sync(*message, self.server.client_id)

        return execute

    def watch_sampler(self, original: Function) -> Function:
        """Stand around a node: watch it in a thread if it is a sampler."""
        id = Argument(original, "prompt_id")
        node = Argument(original, "obj")
        inputs = Argument(original, "input_data_all")

        async def run_node(*arguments: Any, **named: Any) -> Any:
            obj = node.of(arguments, named)
            if getattr(obj, "__name__", type(obj).__name__) not in SAMPLERS:
                return await original(*arguments, **named)
            limit = self.judge(inputs.of(arguments, named))
            ended = threading.Event()
            steps = Steps(clock=self.clock)
            if limit is not None:
                steps = Steps(limit.allowed, limit.runs, self.clock)
                sampler = (id.of(arguments, named), limit, steps, ended)
                threading.Thread(target=self._watch, args=sampler, daemon=True).start()
            try:
                with steps.observed():
                    return await original(*arguments, **named)
            finally:
                with self._deciding:
                    ended.set()

        return run_node

    def _watch(self, prompt_id: str, limit: Limit, steps: Steps, ended: threading.Event) -> None:
        """Interrupt a sampler that takes too long; end its process if it does not react."""
        error = None
        while error is None:
            ended.wait(min(max(0.0, limit.due(steps)[0] - self.clock()), CHECK_SECONDS))
            with self._deciding:  # the sampler may end now, and the next prompt start
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
        """Return the seconds from the interrupt to the end of the process."""
        if GRACE in self.limits:
            return self.limits[GRACE]
        return max(MIN_GRACE, steps.hangs_at() - self.clock())

    def _interrupt(self, prompt_id: str, error: ZImageError) -> None:
        self.error = error
        log.warning("Z-Image: %s is interrupted: %s", prompt_id, error)
        log_event(self.path, prompt_id, "-", error.code, "interrupted")
        sys.modules["nodes"].interrupt_processing()

    def _end(self, prompt_id: str, error: ZImageError) -> None:
        """End the prompt as failed, and ask for the end of the process."""
        log_event(self.path, prompt_id, "-", error.code, "ended")
        fail_running(self.server.prompt_queue, error)
        if guardian.ask_to_be_killed(f"任务 {prompt_id} 没有结束 / {prompt_id} does not end"):
            sleep(KILL_SECONDS)  # holds the lock: no other prompt starts if the sampler returns now
        else:
            log.error("Z-Image: %s does not end, and no guardian replaces this process", prompt_id)

"""Steps of the sampler that runs: when each one ended, and when the next one is late.

The host calls back after each step, once the step is submitted. A GPU works through a queue of
kernels, so the first callback may come before the first step is computed, and only the time
between two callbacks measures a step. The time before the first callback includes the move of
model files to the device, which the host does inside the sampler node.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from ..base.hooks import Function, HookPoint

CALLBACK = HookPoint("latent_preview", "prepare_callback", ("model", "steps"))
FIRST = 600.0
"""Seconds for each megapixel until a step is measured, which includes loading the model. The
slowest supported cards take 95 s for a step, and a slow disk 400 s for 12 GB."""
SILENCE = 60.0
"""Seconds without the end of a step that are allowed on every device."""
LONGER = 10.0
"""How many times the last step the next one may take."""
MEDIANS = 20.0
"""How many times the median step, multiplied by the steps, a run may take."""
ENOUGH = 3
"""Steps that have to be measured before their median counts."""

_running: list[Steps] = []


class Steps:
    """Progress of one sampler node, which the host runs once for each value of a list.

    Args:
        first: seconds until a step of a run is measured.
        runs: how often the host runs the node.
        clock: seconds that never go back.
    """

    def __init__(
        self, first: float = FIRST, runs: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.first = first
        self.runs = runs
        self.clock = clock
        self.started = clock()
        self.done = 0
        self.total = 0
        self.last_step = 0.0
        self._latest = self.started  # time of the last callback
        self._run_start = self.started  # time of the first callback of this run
        self._begun = 0
        self._durations: list[float] = []

    def step_done(self, index: int, total: int) -> None:
        """Note the end of a step; an index that does not grow begins another run."""
        now = self.clock()
        if index < self.done or not self._begun:
            self._begun += 1
            self._run_start = now
            self._durations = []
        else:
            self.last_step = now - self._latest
            self._durations = [*self._durations, self.last_step]
        self.done = index + 1
        self.total = total
        self._latest = now

    def hangs_at(self) -> float:
        """Return when the next step is late enough to take the sampler for hung."""
        return self._latest + max(SILENCE, LONGER * self.last_step)

    def stalls_at(self) -> float:
        """Return when no step has ended for too long; a run without a measured step has longer."""
        if self._durations and not self._between_runs():
            return self.hangs_at()
        return max(self._latest + self.first, self.hangs_at())

    def slow_at(self) -> float:
        """Return when the run takes too long, judged by the median of its own steps."""
        durations = self._durations
        if len(durations) < ENOUGH or self._between_runs():
            return math.inf
        return self._run_start + max(SILENCE, MEDIANS * median(durations) * self.total)

    def due(self) -> tuple[float, str, float]:
        """Return when to interrupt the sampler, the error code, and the seconds it had."""
        stall = self.stalls_at()
        slow = self.slow_at()
        if stall <= slow:
            return stall, "ZI-DEADLINE-STALLED", stall - self._latest
        return slow, "ZI-DEADLINE-SLOW", slow - self._run_start

    def _between_runs(self) -> bool:
        return self.done >= self.total and self._begun < self.runs

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Count the steps of samplers that begin in this context."""
        _running.append(self)
        try:
            yield
        finally:
            _running.remove(self)


def counted(original: Function) -> Function:
    """Wrap the host's ``prepare_callback``, so that the running sampler counts its steps."""

    def prepare_callback(*args: object, **named: object) -> Function:
        callback = original(*args, **named)
        if not _running:
            return callback
        steps = _running[-1]

        @functools.wraps(callback)
        def step_callback(
            step: int, x0: object, x: object, total_steps: int, *rest: object, **more: object
        ) -> object:
            # Raises when the prompt is interrupted.
            result = callback(step, x0, x, total_steps, *rest, **more)
            steps.step_done(step, total_steps)
            return result

        return step_callback

    return prepare_callback


def reaction_time() -> float:
    """Return the seconds in which a running sampler notices an interrupt: two of its steps."""
    return max((2 * steps.last_step for steps in _running[:]), default=0.0)

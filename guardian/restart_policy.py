"""What to start after a death, and whether memory grows: pure, with the time handed in."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from itertools import pairwise
from math import ceil

from .limits import Limits
from .messages import Text, reason


class Mode(StrEnum):
    """How much is started."""

    NORMAL = "normal"
    SAFE = "safe"  # no node packs but this one
    CPU = "cpu"  # safe, and without the GPU


class Crashes:
    """Counts deaths and chooses pause and mode of the next start.

    Args:
        limits: when to act.
        gpu: whether there is one to give up.
    """

    def __init__(self, limits: Limits, gpu: bool) -> None:
        self.limits = limits
        self.modes = [Mode.NORMAL, Mode.SAFE] + ([Mode.CPU] if gpu else [])
        self.level, self.failures = 0, 0.0
        self.faults: list[float] = []
        self.last = 0.0

    @property
    def mode(self) -> Mode:
        """What to start now."""
        return self.modes[self.level]

    def died(self, lived: float, now: float, prompt: bool = False) -> float:
        """Note a death.

        Args:
            lived: how long it had been serving; 0 for one that never did.
            now: monotonic time.
            prompt: whether a prompt may be to blame. Such a death is half a failure: the queue runs
                a prompt that took two servers with it no more, so one is never more than one.

        Returns:
            How long to wait before the next start. None after a death out of a long life, then
            doubling from half a second.
        """
        self.last = now
        if lived >= self.limits.quick:
            self.failures = 0
            return 0.0
        before, most = self.failures, max(1, int(self.limits.failures))
        self.failures += 0.5 if prompt else 1
        if self.failures // most > before // most:
            self._start_less()
        return min(0.5 * 2 ** min(ceil(self.failures) - 1, 30), self.limits.longest_pause)

    def failed(self, now: float) -> float:
        """Note that a server had to be replaced since its GPU failed, however long it had served;
        gives 0, as :meth:`died` after a long life."""
        self.last = now
        self.faults = [one for one in self.faults if now - one < self.limits.quiet] + [now]
        if len(self.faults) >= self.limits.failures:
            self._start_less()
            self.faults = []
        return 0.0

    def _start_less(self) -> None:
        self.level = min(self.level + 1, len(self.modes) - 1)

    def lives(self, served: float) -> None:
        """Note how long the server of now has been serving: after a while, earlier deaths are no
        longer in a row with the next."""
        if served >= self.limits.quick:
            self.failures = 0

    def found(self, mode: Mode, now: float) -> None:
        """Note the mode of a server that another guardian has started: its quiet time begins."""
        self.level = self.modes.index(mode) if mode in self.modes else len(self.modes) - 1
        self.last = now

    def recovered(self, now: float) -> bool:
        """Whether all is to be started: always was, or a reduced mode has been quiet for long
        enough, which ends it."""
        if self.level and now - self.last >= self.limits.quiet:
            self.level = self.failures = 0
        return self.level == 0


class Growth:
    """Resident memory of one server over time, where it can be compared: at rest, with the same
    models loaded."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.seen: dict[str, deque[tuple[float, float]]] = {}

    def reason(self, now: float, mib: float, models: object) -> Text | None:
        """Why the server should be replaced, if it should.

        What a node loads once and keeps is no growth, so the largest step is left out.

        Args:
            now: monotonic time in seconds.
            mib: resident memory.
            models: what is loaded; only readings with the same are compared.
        """
        seen = self.seen.setdefault(str(models), deque())
        seen.append((now, mib))
        while now - seen[0][0] > self.limits.growth_time:
            seen.popleft()
        amounts = [amount for _, amount in seen]
        since = amounts[amounts.index(min(amounts)) :]
        grown = mib - since[0]
        step = max((after - before for before, after in pairwise(since)), default=0.0)
        if grown - max(step, 0.0) > self.limits.growth:
            return reason("growth", grown, now - seen[0][0])
        return None

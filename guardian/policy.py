"""What to start after a death, and whether memory grows: pure, with the time handed in."""

from __future__ import annotations

from collections import deque
from enum import StrEnum

from .limits import Limits
from .texts import Text, reason


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
        self.level = self.failures = 0
        self.last = 0.0

    @property
    def mode(self) -> Mode:
        """What to start now."""
        return self.modes[self.level]

    def died(self, lived: float, now: float) -> float:
        """Note a death.

        Args:
            lived: how long it had been serving; 0 for one that never did.
            now: monotonic time.

        Returns:
            How long to wait before the next start. None after a death out of a long life, then
            doubling from half a second.
        """
        self.last = now
        if lived >= self.limits.quick:
            self.failures = 0
            return 0.0
        self.failures += 1
        if self.failures % max(1, int(self.limits.failures)) == 0:
            self.level = min(self.level + 1, len(self.modes) - 1)
        return min(0.5 * 2 ** min(self.failures - 1, 30), self.limits.longest_pause)

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
    """Resident memory of one server over time, where it can be compared."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.seen: deque[tuple[float, float]] = deque()
        self.models: object = None

    def reason(self, now: float, mib: float, idle: bool, models: object) -> Text | None:
        """Why the server should be replaced, if it should.

        Args:
            now: monotonic time in seconds.
            mib: resident memory.
            idle: nothing runs; only such moments are compared.
            models: what is loaded; another answer begins a new comparison.
        """
        if self.limits.ceiling and mib > self.limits.ceiling:
            return reason("ceiling", mib, self.limits.ceiling)
        if not idle:
            return None
        if models != self.models:
            self.models = models
            self.seen.clear()
        while self.seen and now - self.seen[0][0] > self.limits.growth_time:
            self.seen.popleft()
        self.seen.append((now, mib))
        grown = mib - min(amount for _, amount in self.seen)
        if grown > self.limits.growth:
            return reason("growth", grown, now - self.seen[0][0])
        return None

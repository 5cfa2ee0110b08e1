"""A clock that leaves out the time in which the guardian was suspended.

A container may be paused and a machine may sleep. The servers did not run in that time either, so
a missing heartbeat is no hang.
"""

from __future__ import annotations

from collections.abc import Callable

LONGEST_GAP = 5.0
"""Seconds between two readings; a longer gap is a suspension. The guardian reads the clock several
times a second."""


class SuspendAwareClock:
    """Seconds of another clock without the gaps between distant readings."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the first reading.

        Args:
            clock: a monotonic clock that goes on during a suspension.
        """
        self.clock = clock
        self._last_reading = clock()
        self._suspended = 0.0

    def __call__(self) -> float:
        """Return the current time in seconds."""
        now = self.clock()
        gap = now - self._last_reading
        if gap > LONGEST_GAP:
            self._suspended += gap
        self._last_reading = now
        return now - self._suspended

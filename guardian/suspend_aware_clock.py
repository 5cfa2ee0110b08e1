"""A clock that stands still while this process does.

A container that is paused, a machine that is asleep or moved: then servers have not run either, and
what they owe when it goes on, they have not failed to do.
"""

from __future__ import annotations

from collections.abc import Callable

LONGEST = 5.0
"""Seconds between two looks at the clock beyond which the time between them is left out; the
guardian looks several times a second."""


class Awake:
    """Seconds that have passed while somebody looked at them.

    Args:
        clock: that goes on meanwhile.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._last, self._asleep = clock(), 0.0

    def __call__(self) -> float:
        """Now."""
        now = self.clock()
        if now - self._last > LONGEST:
            self._asleep += now - self._last
        self._last = now
        return now - self._asleep

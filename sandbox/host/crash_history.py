"""When a pack's process may start again after it has ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

MAX_CRASHES = 3
"""The pack is quarantined after so many crashes in :data:`CRASH_SECONDS`."""
CRASH_SECONDS = 300.0
"""``ZI-SANDBOX-QUARANTINE`` and ``web/sandboxes.js`` name both numbers."""
BACKOFF_SECONDS = (0.0, 1.0, 4.0)
"""Pause before the next start, by number of recent crashes."""


class CrashHistory:
    """The recent crashes of one pack.

    Args:
        clock: seconds, monotonic.

    Attributes:
        quarantined: whether the pack may not start again until a person lifts this.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.quarantined = False
        self._clock = clock
        self._times: deque[float] = deque(maxlen=MAX_CRASHES)

    def add(self) -> None:
        """Note a crash, which may be one too many."""
        self._times.append(self._clock())
        full = len(self._times) == MAX_CRASHES
        if full and self._times[0] > self._clock() - CRASH_SECONDS:
            self.quarantined = True

    def wait(self) -> None:
        """Wait until the pack may start again."""
        recent = [crash for crash in self._times if crash > self._clock() - CRASH_SECONDS]
        if recent:
            pause = BACKOFF_SECONDS[min(len(recent), len(BACKOFF_SECONDS)) - 1]
            time.sleep(max(0.0, min(recent[-1] + pause - self._clock(), pause)))

    def clear(self) -> None:
        """Forget all crashes and end the quarantine."""
        self.quarantined = False
        self._times.clear()

    def __len__(self) -> int:
        return len(self._times)

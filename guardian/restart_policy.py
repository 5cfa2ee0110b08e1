"""Decides when and in which mode the next server starts, with the time handed in."""

from __future__ import annotations

from math import ceil

from .limits import Limits
from .mode import Mode

FIRST_PAUSE = 0.5
"""Seconds before the start after the first quick crash; each further crash doubles them."""
MAX_DOUBLINGS = 30


class RestartPolicy:
    """Counts crashes and chooses the pause before the next start, and its mode."""

    def __init__(self, limits: Limits, gpu: bool) -> None:
        """Start in the normal mode.

        Args:
            limits: how many crashes lead to a degraded mode.
            gpu: whether the servers use a GPU, so that a mode without it is a help.
        """
        self.limits = limits
        self.modes = [Mode.NORMAL, Mode.SAFE] + ([Mode.CPU] if gpu else [])
        self.level = 0
        self.failures = 0.0
        self.gpu_failures: list[float] = []
        self.last_failure = 0.0

    @property
    def mode(self) -> Mode:
        """The mode of the next server."""
        return self.modes[self.level]

    def record_crash(self, lived: float, now: float, during_prompt: bool = False) -> float:
        """Record a crash and return the seconds to wait before the next start.

        There is no pause after a long life. Quick crashes in a row double the pause.

        Args:
            lived: seconds for which the server was active; 0 for one that never was.
            now: monotonic time.
            during_prompt: whether a prompt may be the cause. Such a crash counts half: the queue
                runs a prompt at most twice, so one prompt never counts more than one crash.
        """
        self.last_failure = now
        if lived >= self.limits.quick:
            self.failures = 0
            return 0.0
        before = self.failures
        most = max(1, int(self.limits.failures))
        self.failures += 0.5 if during_prompt else 1
        if self.failures // most > before // most:
            self._degrade()
        doublings = min(ceil(self.failures) - 1, MAX_DOUBLINGS)
        return min(FIRST_PAUSE * 2**doublings, self.limits.longest_pause)

    def record_gpu_failure(self, now: float) -> float:
        """Record the end of a server whose GPU failed, and return the pause, which is 0.

        Args:
            now: monotonic time.
        """
        self.last_failure = now
        recent = [time for time in self.gpu_failures if now - time < self.limits.quiet]
        self.gpu_failures = [*recent, now]
        if len(self.gpu_failures) >= self.limits.failures:
            self._degrade()
            self.gpu_failures = []
        return 0.0

    def _degrade(self) -> None:
        self.level = min(self.level + 1, len(self.modes) - 1)

    def record_uptime(self, seconds: float) -> None:
        """Forget earlier crashes once the active server has run long enough.

        Args:
            seconds: how long it has been active.
        """
        if seconds >= self.limits.quick:
            self.failures = 0

    def adopt_mode(self, mode: Mode, now: float) -> None:
        """Take over the mode of a server that another guardian started.

        Args:
            mode: its mode; without a GPU, the most degraded mode stands for an unknown one.
            now: monotonic time, from which the server has to be stable.
        """
        self.level = self.modes.index(mode) if mode in self.modes else len(self.modes) - 1
        self.last_failure = now

    def recover(self, now: float) -> bool:
        """Return to the normal mode after a stable time.

        Args:
            now: monotonic time.

        Returns:
            Whether the mode is normal now.
        """
        if self.level and now - self.last_failure >= self.limits.quiet:
            self.level = 0
            self.failures = 0
        return self.level == 0

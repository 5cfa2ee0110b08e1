"""Checks the free memory of the GPUs before a server starts, without blocking.

The memory of a killed process is free only a moment later, and the memory of another program may
never be. A server that starts too early finds too little and fails.
"""

from __future__ import annotations

import shutil
import subprocess

from .limits import Limits

QUERY = ("--query-gpu=memory.free", "--format=csv,noheader,nounits")
ANSWER_TIMEOUT = 30.0
"""Seconds after which a silent ``nvidia-smi`` is killed."""


class GpuMemoryCheck:
    """Decides by ``nvidia-smi`` whether a server may start.

    Attributes:
        free: MiB on the GPU that has most, by the last answer; None where it is not known.
        is_waiting: whether a start waits since too little is free.
    """

    def __init__(self, limits: Limits, used: bool) -> None:
        """Find ``nvidia-smi``.

        Args:
            limits: how much has to be free, and how long to wait for it.
            used: whether the servers use a GPU.
        """
        self.limits = limits
        self.tool = shutil.which("nvidia-smi") if used and limits.gpu_free else None
        self.free: float | None = None
        self.is_waiting = False
        self._query: subprocess.Popen[str] | None = None
        self._query_started = 0.0
        self._killed: list[subprocess.Popen[str]] = []  # may not have ended yet
        self._waiting_since: float | None = None

    def may_start(self, now: float) -> bool:
        """Return whether enough memory is free or the wait is over; call it until it is true.

        Args:
            now: monotonic time.
        """
        if self.tool is None:
            return True
        if self._waiting_since is None:
            self._waiting_since = now
            self.free = None
            self.is_waiting = False
        if not self._has_answer(self.tool, now):
            return False
        self.is_waiting = self.free is not None and self.free < self.limits.gpu_free
        if self.is_waiting and now - self._waiting_since < self.limits.gpu_wait:
            return False
        self._waiting_since = None
        return True

    def cancel(self) -> None:
        """Drop the current wait; the next start begins its own."""
        self._waiting_since = None
        self.is_waiting = False
        self._kill_query()

    def _has_answer(self, tool: str, now: float) -> bool:
        """Ask if nothing is being asked, and return whether there was an answer or a failure."""
        if self._query is None:
            try:
                self._query = subprocess.Popen(
                    [tool, *QUERY],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            except OSError:
                return True
            self._query_started = now
            return False
        if self._query.poll() is None:
            if now - self._query_started < ANSWER_TIMEOUT:
                return False
            self._kill_query()
            self.free = None
            return True
        output, _ = self._query.communicate()
        self._query = None
        amounts = [float(word) for word in output.split() if word.isdecimal()]
        self.free = max(amounts, default=None)
        return True

    def _kill_query(self) -> None:
        """Kill the query without waiting for its end: a driver that hangs may delay it."""
        query = self._query
        self._query = None
        if query is not None and query.stdout is not None:
            query.kill()
            query.stdout.close()
            self._killed = [tool for tool in (*self._killed, query) if tool.poll() is None]

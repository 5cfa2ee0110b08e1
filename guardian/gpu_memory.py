"""How much memory of the GPUs is free, as ``nvidia-smi`` says; asked without waiting for it.

What a process that was killed held comes back a moment later, and what another program holds does
not come back at all. A server that starts before finds too little, and fails.
"""

from __future__ import annotations

import shutil
import subprocess

from .limits import Limits

QUESTION = ("--query-gpu=memory.free", "--format=csv,noheader,nounits")
PATIENCE = 30.0
"""Seconds after which an ``nvidia-smi`` that does not answer is given up."""


class Gpu:
    """Decides whether a server may start.

    Attributes:
        free: MiB of the GPU that has most, when last asked; None when nothing was told.
    """

    def __init__(self, limits: Limits, used: bool) -> None:
        self.limits = limits
        self.tool = shutil.which("nvidia-smi") if used and limits.gpu_free else None
        self.free: float | None = None
        self._asking: subprocess.Popen[str] | None = None
        self._asked = 0.0
        self._left: list[subprocess.Popen[str]] = []  # given up, and not yet gone
        self._since: float | None = None
        self.waits = False

    def may_start(self, now: float) -> bool:
        """Whether enough is free, or was waited for long enough; to be called until it is true.

        Args:
            now: monotonic time.
        """
        if self.tool is None:
            return True
        if self._since is None:
            self._since, self.free, self.waits = now, None, False
        if not self._answered(now):
            return False
        self.waits = self.free is not None and self.free < self.limits.gpu_free
        if self.waits and now - self._since < self.limits.gpu_wait:
            return False
        self._since = None
        return True

    def forget(self) -> None:
        """Nobody waits to start any more; who does later waits anew."""
        self._since, self.waits = None, False
        if self._asking is not None:  # what it says will be old
            self._give_up()

    def _answered(self, now: float) -> bool:
        """Asks, and is true once that was answered or will not be."""
        if self._asking is None:
            try:
                self._asking = subprocess.Popen(
                    [str(self.tool), *QUESTION], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL, text=True,
                )  # fmt: skip
            except OSError:
                return True
            self._asked = now
            return False
        if self._asking.poll() is None:
            if now - self._asked < PATIENCE:
                return False
            self._give_up()
            self.free = None
            return True
        text, _ = self._asking.communicate()
        self._asking = None
        amounts = [float(word) for word in text.split() if word.isdecimal()]
        self.free = max(amounts, default=None)
        return True

    def _give_up(self) -> None:
        """Without waiting: a driver that hangs does not even let go of what was killed."""
        given_up, self._asking = self._asking, None
        if given_up is not None and given_up.stdout is not None:
            given_up.kill()
            given_up.stdout.close()
            self._left = [one for one in (*self._left, given_up) if one.poll() is None]

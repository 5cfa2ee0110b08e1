"""Time limits of a call, and its interruption by the user."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from ...errors.bilingual import Bilingual
from ..protocol import messages as m
from ..protocol.exceptions import WorkerDied
from .calls import GRACE_SECONDS


class Killable(Protocol):
    """The process of a worker."""

    def kill(self, reason: Bilingual | str | None = None) -> None:
        """End it."""
        ...


class CallControl(Protocol):
    """The session of a running call."""

    @property
    def process(self) -> Killable:
        """The process of the worker."""
        ...

    def cancel(self, number: int) -> None:
        """Ask the worker to stop a call."""
        ...


Check = Callable[[CallControl, float], None]
"""Called with the session and the seconds of silence; raises to end a call."""


class CallDeadline:
    """Checks every tenth of a second whether a call may go on.

    Args:
        seconds: longest call, 0 for no limit.
        silent_seconds: longest time without a sign of life, 0 for no limit.
        call: the call to cancel when the user interrupts.
        interrupted: returns whether the user has interrupted.
        keep_process: whether the process goes on when the time is over, and only the waiting ends.
    """

    def __init__(
        self,
        seconds: float,
        silent_seconds: float,
        call: m.Call | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        keep_process: bool = False,
    ) -> None:
        self.seconds = seconds
        self.silent_seconds = silent_seconds
        self.call = call
        self.interrupted = interrupted
        self.keep_process = keep_process
        self.began = time.monotonic()
        self.cancelled_at = 0.0

    def __call__(self, session: CallControl, silence: float) -> None:
        """Cancel the call, or end the process.

        Raises:
            WorkerDied: the process was ended.
            TimeoutError: the time is over, and the process goes on.
        """
        now = time.monotonic()
        duration = now - self.began
        if self.seconds and duration > self.seconds:
            if self.keep_process:
                raise TimeoutError(f"no answer in {self.seconds:g} s")
            limit = f"{self.seconds:g}"
            _end(session, Bilingual(f"超过 {limit} 秒", f"more than {limit} s"))
        if self.silent_seconds and min(silence, duration) > self.silent_seconds:
            limit = f"{self.silent_seconds:g}"
            _end(session, Bilingual(f"{limit} 秒无心跳", f"no sign of life for {limit} s"))
        if self.cancelled_at and now - self.cancelled_at > GRACE_SECONDS:
            session.process.kill("interrupted")
            raise_interrupted()
        if self.call is not None and not self.cancelled_at and self.interrupted():
            self.cancelled_at = now
            session.cancel(self.call.number)


def _end(session: CallControl, reason: Bilingual) -> None:
    session.process.kill(reason)
    raise WorkerDied(reason)


def user_interrupted() -> bool:
    """Return whether the user has asked ComfyUI to stop."""
    import comfy.model_management

    return comfy.model_management.processing_interrupted()


def raise_interrupted() -> None:
    """Raise ComfyUI's exception for an interrupted prompt."""
    import comfy.model_management

    raise comfy.model_management.InterruptProcessingException()

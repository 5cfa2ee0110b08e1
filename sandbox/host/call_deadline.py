"""How long a call may take, and how it is ended when nobody wants it any more."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...errors import Said
from ..protocol import messages as m
from .calls import GRACE_SECONDS
from .object_table import WorkerDied
from .process import Process


class Limit:
    """Judges, every tenth of a second, whether a call goes on.

    Args:
        seconds: for the call, 0 for no limit.
        silent: without a sign of life, 0 for no limit.
        call: to be cancelled when ``unwanted`` says so.
        unwanted: whether the user has interrupted.
        give_up: leave the process as it is, and only stop waiting.
    """

    def __init__(
        self,
        seconds: float,
        silent: float,
        call: m.Call | None = None,
        unwanted: Callable[[], bool] = lambda: False,
        give_up: bool = False,
    ) -> None:
        self.seconds, self.silent, self.call = seconds, silent, call
        self.unwanted, self.give_up = unwanted, give_up
        self.began = time.monotonic()
        self.cancelled = 0.0

    def __call__(self, process: Process, silence: float) -> None:
        """Cancel, or end the process.

        Raises:
            WorkerDied: it was ended.
        """
        now = time.monotonic()
        lasted = now - self.began
        if self.seconds and lasted > self.seconds:
            if self.give_up:
                raise TimeoutError(f"no answer in {self.seconds:g} s")
            said = f"{self.seconds:g}"
            self._end(process, Said(f"more than {said} s", f"超过 {said} 秒"))
        if self.silent and min(silence, lasted) > self.silent:
            said = f"{self.silent:g}"
            self._end(process, Said(f"no sign of life for {said} s", f"{said} 秒没有动静"))
        if self.cancelled and now - self.cancelled > GRACE_SECONDS:
            process.kill("interrupted")
            raise_interrupted()
        if self.call is not None and not self.cancelled and self.unwanted():
            self.cancelled = now
            process.cancel(self.call.number)

    @staticmethod
    def _end(process: Process, why: str) -> None:
        process.kill(why)
        raise WorkerDied(why)


def interrupted() -> bool:
    """Whether the user has asked ComfyUI to stop."""
    import comfy.model_management

    return comfy.model_management.processing_interrupted()


def raise_interrupted() -> None:
    """As ComfyUI does when a prompt is interrupted."""
    import comfy.model_management

    raise comfy.model_management.InterruptProcessingException()

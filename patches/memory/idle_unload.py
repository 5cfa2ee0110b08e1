"""Models that nobody has used for a while are given back, on the GPU and in RAM.

The host keeps models and outputs for the next prompt for as long as it runs. After
``$ZIMAGE_IDLE_MINUTES`` without a prompt its worker is asked, as ``POST /free`` asks it, to unload
everything and to forget its caches; then free memory goes back to the system. The next prompt loads
again and makes the same bytes.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ...config import Settings
from ...errors import ZImageError
from ..base import comfyui
from ..base.hooks import Function, HookPoint, Patch
from . import readings

log = logging.getLogger(__name__)

RESET = HookPoint("execution", "PromptExecutor.reset", ("self",))
QUEUE = ("mutex", "queue", "currently_running", "task_counter", "set_flag")
"""What is used of the host's queue."""
MOST_PERIOD = 15.0
"""Seconds between two looks; a short idle time is looked at ten times."""


def create() -> Residency:
    """The watch over the running server."""
    return Residency(comfyui.server(), 60 * Settings.from_environment().idle_minutes)


class Residency(Patch):
    """Looks at the queue from a thread, and gives back what the host's worker forgets.

    Args:
        server: the host's; its queue may be replaced meanwhile.
        idle: seconds without a prompt, 0 for never.
        clock: seconds, for tests.
    """

    def __init__(
        self, server: Any, idle: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(RESET, self._wrap)
        self.server, self.idle, self.clock = server, idle, clock
        self.unloads = 0
        self.seen = 0  # prompts that the queue had given out at the last look
        self.since = float("inf")  # when that was last different; inf when nothing is to be done
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def active(self) -> bool:
        """True while memory is given back, and somebody looks."""
        looks = self._thread is not None and self._thread.is_alive()
        return super().active and (looks or not self.idle)

    def apply(self) -> None:
        """As :meth:`.seam.Patch.apply`; begins to look."""
        queue = self.server.prompt_queue
        if not all(hasattr(queue, name) for name in QUEUE):
            found = type(queue).__qualname__
            raise ZImageError("ZI-PATCH-SEAM", name="prompt_queue", found=found,
                              expected=", ".join(QUEUE))  # fmt: skip
        super().apply()
        if self.idle and self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="zimage-idle", daemon=True)
            self._thread.start()

    def revert(self) -> None:
        """As :meth:`.seam.Patch.revert`; looks no more."""
        super().revert()
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def details(self) -> dict[str, Any]:
        """For ``/health``: how often all was given back; each loaded model and who holds it."""
        return {
            "idle_minutes": self.idle / 60,
            "unloads": self.unloads,
            "models": [about(entry.model) for entry in _loaded() if entry.model is not None],
        }

    def look(self) -> bool:
        """Ask the worker to unload when nothing ran for long enough; True when it was asked."""
        queue = self.server.prompt_queue
        with queue.mutex:
            now, given = self.clock(), queue.task_counter
            if queue.queue or queue.currently_running or given != self.seen:
                self.seen, self.since = given, now
                return False
            if now - self.since < self.idle:
                return False
            self.since = float("inf")
            queue.set_flag("free_memory", True)  # the host unloads models for it as well
        log.info("Z-Image: no prompt for %g minutes; models are unloaded", self.idle / 60)
        return True

    def _run(self) -> None:
        while not self._stop.wait(min(self.idle / 10, MOST_PERIOD)):
            try:
                self.look()
            except Exception:
                log.exception("Z-Image: idle models are not unloaded")

    def _wrap(self, original: Function) -> Function:
        def reset(executor: Any, *rest: Any, **named: Any) -> None:
            again = hasattr(executor, "caches")  # not while it is made
            original(executor, *rest, **named)
            if again:
                readings.collect_all()
                self.unloads += 1

        return reset


def about(model: Any) -> dict[str, Any]:
    """A model for ``/health``."""
    return {
        "name": type(model.model).__name__,
        "mb": round(model.model_size() / 2**20, 1),
        "references": sys.getrefcount(model.model) - 1,  # but for this call's own
    }


def _loaded() -> list[Any]:
    return list(getattr(sys.modules.get("comfy.model_management"), "current_loaded_models", ()))

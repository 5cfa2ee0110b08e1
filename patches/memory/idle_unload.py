"""Models that nobody has used for a while are unloaded, from the GPU and from RAM.

The host keeps models and outputs for the next prompt as long as it runs. After
``$ZIMAGE_IDLE_MINUTES`` without a prompt, its worker is asked, as by ``POST /free``, to unload all
models and to drop its caches. Then free memory is returned to the system. The next prompt loads
the models again; its result is the same, byte for byte.
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
from ..base import comfyui, lifecycle
from ..base.hooks import Function, Patches
from ..base.lifecycle import Subscription
from ..base.registry import About
from . import readings

log = logging.getLogger(__name__)

ABOUT = About(
    part="residency",
    bare_host="Models stay until the process ends.",
    here=(
        "GPU memory and RAM are returned after 10 minutes without a prompt (`ZIMAGE_IDLE_MINUTES`,"
        " 0: never)."
    ),
)
RESET = lifecycle.CACHES_RESET.needs("self")
QUEUE_ATTRIBUTES = ("mutex", "queue", "currently_running", "task_counter", "set_flag")
"""Attributes of the host's queue that this part uses."""
MAX_PERIOD = 15.0
"""Most seconds between two looks at the queue. A shorter period is a tenth of the idle time."""


def create() -> Residency:
    """Return the part for the running server."""
    return Residency(comfyui.server(), 60 * Settings.from_environment().idle_minutes)


class Residency(Patches):
    """Looks at the queue from a thread, and returns the memory that the worker has freed.

    Args:
        server: the host's; its queue may be replaced later.
        idle: seconds without a prompt, 0 for never.
        clock: seconds, for tests.

    Attributes:
        unloads: how often memory was returned.
        seen: number of prompts that the queue had started at the last look.
        since: when that number last changed; infinite when there is nothing to unload.
    """

    def __init__(
        self, server: Any, idle: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(Subscription("residency", RESET, self.return_memory_after_reset))
        self.server = server
        self.idle = idle
        self.clock = clock
        self.unloads = 0
        self.seen = 0
        self.since = float("inf")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def active(self) -> bool:
        """True while memory is returned; an idle time other than 0 also needs the thread."""
        runs = self._thread is not None and self._thread.is_alive()
        return super().active and (runs or not self.idle)

    def apply(self) -> None:
        """Subscribe and start the thread; raises ``ZI-PATCH-SEAM``."""
        queue = self.server.prompt_queue
        if not all(hasattr(queue, name) for name in QUEUE_ATTRIBUTES):
            raise ZImageError(
                "ZI-PATCH-SEAM",
                name="prompt_queue",
                found=type(queue).__qualname__,
                expected=", ".join(QUEUE_ATTRIBUTES),
            )
        super().apply()
        if self.idle and self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="zimage-idle", daemon=True)
            self._thread.start()

    def revert(self) -> None:
        """Leave the event and stop the thread."""
        super().revert()
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def details(self) -> dict[str, Any]:
        """Return for ``/health`` the idle time, the number of unloads, and each loaded model."""
        models = [entry.model for entry in _loaded() if entry.model is not None]
        return {
            "idle_minutes": self.idle / 60,
            "unloads": self.unloads,
            "models": [describe_model(model) for model in models],
        }

    def look(self) -> bool:
        """Ask the worker to unload when no prompt ran for long enough; return whether it did."""
        queue = self.server.prompt_queue
        with queue.mutex:
            now = self.clock()
            started = queue.task_counter
            if queue.queue or queue.currently_running or started != self.seen:
                self.seen = started
                self.since = now
                return False
            if now - self.since < self.idle:
                return False
            self.since = float("inf")
            queue.set_flag("free_memory", True)  # the host also unloads models for this flag
        log.info("Z-Image: no prompt for %g minutes; models are unloaded", self.idle / 60)
        return True

    def _run(self) -> None:
        while not self._stop.wait(min(self.idle / 10, MAX_PERIOD)):
            try:
                self.look()
            except Exception:
                log.exception("Z-Image: idle models are not unloaded")

    def return_memory_after_reset(self, original: Function) -> Function:
        """Wrap the reset of the host's caches: return free memory after it."""

        def reset(executor: Any, *rest: Any, **named: Any) -> None:
            has_caches = hasattr(executor, "caches")  # not while the executor is created
            original(executor, *rest, **named)
            if has_caches:
                readings.collect_all()
                self.unloads += 1

        return reset


def describe_model(model: Any) -> dict[str, Any]:
    """Return a model for ``/health``."""
    return {
        "name": type(model.model).__name__,
        "mb": round(model.model_size() / 2**20, 1),
        "references": sys.getrefcount(model.model) - 1,  # without that of this call
    }


def _loaded() -> list[Any]:
    return list(getattr(sys.modules.get("comfy.model_management"), "current_loaded_models", ()))

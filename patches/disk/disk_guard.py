"""Disks are watched: old files are deleted, the operator is alerted, prompts are refused.

Above the limit ``POST /prompt`` and uploads are answered with 507 and ``/health/ready`` with 503
until there is space again; prompts that were accepted still run, and all other requests are
answered. One daemon thread does the work.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...config import Disk, Settings
from ...errors import ZImageError
from ..base import comfyui
from ..base.hooks import HookPoint
from ..base.registry import About, Part
from . import kept_files
from .alerts import Alerts
from .retention import sweep
from .usage import Watch

log = logging.getLogger(__name__)

PERIOD = 5.0
"""Seconds between two measurements."""
FIRST = 60.0
"""Seconds from the start to the first sweep; short, since a server may be replaced often."""
EVERY = 1800.0
"""Seconds between two sweeps."""
DAY = 86400.0
PUT = HookPoint("server", "PromptServer.instance.prompt_queue.put", ())

ABOUT = About(
    part="disk",
    bare_host="Output fills the disk until nothing can be saved.",
    here="Old files are deleted (7 days; never what a prompt or the history names). Above 90 %: "
    "an alert, 507 for prompts and uploads, `ready` is 503; recovers by itself. Settings and "
    "workflows are saved while there is room, and refused before ComfyUI empties the old file "
    "(`requests/disk_admission.py`).",
)


def create(create_admission: Callable[[Watch], Part]) -> Guard:
    """Return the guard of the running server.

    Args:
        create_admission: returns the part that refuses requests that write to a full disk.
    """
    import folder_paths

    settings = Settings.from_environment().disk

    def folders() -> dict[str, Path]:
        return {
            "output": Path(folder_paths.get_output_directory()),
            "temp": Path(folder_paths.get_temp_directory()),
            "state": Path(folder_paths.get_user_directory()) / comfyui.FOLDER,
        }

    roots = functools.partial(kept_files.roots, folder_paths)
    for path in {folders()["output"], folders()["temp"]} - set(roots()):
        log.warning("Z-Image: nothing is deleted in %s, which holds more than results", path)
    watch = Watch(folders, settings.percent)
    return Guard(comfyui.server(), watch, roots, settings, create_admission(watch))


class Guard:
    """Measures the disks, deletes old files, and wraps the queue's ``put``.

    Args:
        server: the host's ``PromptServer``.
        watch: the disks.
        roots: the folders to delete in, see :func:`.kept_files.roots`.
        settings: of the operator.
        admission: judges requests that write; applied and reverted with the guard.
        clock: seconds since 1970, for the age of files.
        timer: seconds of a monotonic clock, for the sweeps.
    """

    def __init__(
        self,
        server: Any,
        watch: Watch,
        roots: Callable[[], Mapping[Path, set[Path]]],
        settings: Disk,
        admission: Part,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.watch = watch
        self.roots = roots
        self.settings = settings
        self.admission = admission
        self.clock = clock
        self.timer = timer
        self.alerts = Alerts(settings)
        self.next_sweep = timer() + FIRST
        self._queue: Any = None
        self._put: Any = None
        self._before: Any = None
        self._stop = threading.Event()

    @property
    def active(self) -> bool:
        """True while the server's queue calls it first."""
        return self._put is not None and vars(self.server.prompt_queue).get("put") is self._put

    def apply(self) -> None:
        """Wrap ``put`` and start the thread; raises ``ZI-PATCH-SEAM``."""
        if self._put is not None:
            return
        queue = self.server.prompt_queue
        original = queue.put
        PUT.verify(original)
        self.admission.apply()

        def put(*arguments: Any, **named: Any) -> Any:
            self.watch.check()
            return original(*arguments, **named)

        self._queue = queue
        self._before = vars(queue).get("put")
        self._put = queue.put = put
        self._stop = threading.Event()
        threading.Thread(
            target=self._run, args=(self._stop,), name="zimage-disk", daemon=True
        ).start()

    def revert(self) -> None:
        """Put the queue's ``put`` back and stop the thread; raises ``ZI-PATCH-COVERED``."""
        if self._put is None:
            return
        if vars(self._queue).get("put") is not self._put:
            raise ZImageError("ZI-PATCH-COVERED", name=str(PUT))
        del self._queue.put
        if self._before is not None:  # of another pack, on the same object
            self._queue.put = self._before
        self._stop.set()
        self._put = None
        self.admission.revert()

    def reasons(self) -> list[str]:
        """Return ``disk`` for ``/health/ready`` while a disk is full."""
        return ["disk"] if self.active and self.watch.full else []

    def details(self) -> dict[str, Any]:
        """Return the percentages in use for ``/health``."""
        return {"percent": {name: round(use.percent, 1) for name, use in self.watch.uses.items()}}

    def _run(self, stop: threading.Event) -> None:
        failed = False
        while True:
            try:
                self.step()
            except Exception:
                if not failed:
                    log.exception("Z-Image: the disk guard failed, and tries again")
                failed = True
            if stop.wait(PERIOD):
                return

    def step(self) -> None:
        """Measure once, and delete when it is time or a disk has just filled up."""
        change = self.watch.look()
        if change:
            log.warning("Z-Image: %s", change)
            self.alerts.send(change)
        filled_up = change is not None and self.watch.full is not None
        if filled_up or self.timer() >= self.next_sweep:
            self._sweep()

    def _sweep(self) -> None:
        queue = self.server.prompt_queue
        names_known = getattr(queue, "refused", None) is None  # else the history cannot be read
        if not self.settings.keep_days or not names_known:
            return
        self.next_sweep = self.timer() + EVERY
        before = self.clock() - self.settings.keep_days * DAY
        count, size = sweep(self.roots(), queue, before)
        if count:
            log.info("Z-Image: %d old files deleted (%.1f MiB)", count, size / 2**20)

"""A disk that fills up is foreseen: old files go, the operator hears of it, prompts are refused.

Above the limit ``POST /prompt`` and uploads (:mod:`.room`) are 507 and ``/health/ready`` 503 until
there is room again; what was accepted runs on, and everything else answers. One daemon thread does
it all.
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
from ..requests.disk_admission import Room
from . import kept_files
from .alerts import Alerts
from .retention import sweep
from .usage import Watch

log = logging.getLogger(__name__)

PERIOD = 5.0
"""Seconds between two looks at the disks."""
FIRST, EVERY = 60.0, 1800.0
"""Seconds from the start to the first round of deleting, and between two: a server may be replaced
more often than that."""
DAY = 86400.0
PUT = HookPoint("server", "PromptServer.instance.prompt_queue.put", ())


def create() -> Guard:
    """The guard of the running server."""
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

    def others() -> dict[str, Path]:
        return {
            "input": Path(folder_paths.get_input_directory()),
            "user": Path(folder_paths.get_user_directory()),
        }

    server, watch = comfyui.server(), Watch(folders, settings.percent)
    return Guard(server, watch, roots, settings, Room(server, watch, others))


class Guard:
    """Looks at the disks, deletes what is old, and stands before the queue's ``put``.

    Args:
        server: the host's ``PromptServer``.
        roots: the folders to delete in, see :func:`.kept.roots`.
        room: judges uploads.
        clock: seconds since 1970, for the age of files.
        timer: seconds that never jump, for the rounds.
    """

    def __init__(
        self,
        server: Any,
        watch: Watch,
        roots: Callable[[], Mapping[Path, set[Path]]],
        settings: Disk,
        room: Room,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server, self.watch, self.roots, self.settings = server, watch, roots, settings
        self.room = room
        self.clock, self.timer = clock, timer
        self.alerts = Alerts(settings)
        self.due = timer() + FIRST
        self._queue: Any = None
        self._put = self._before = None
        self._stop = threading.Event()

    @property
    def active(self) -> bool:
        """True while the server's queue asks it first."""
        return self._put is not None and vars(self.server.prompt_queue).get("put") is self._put

    def apply(self) -> None:
        """Begin; raises ``ZI-PATCH-SEAM``."""
        if self._put is not None:
            return
        queue = self.server.prompt_queue
        original = queue.put
        PUT.verify(original)
        self.room.apply()

        def put(*arguments: Any, **named: Any) -> Any:
            self.watch.check()
            return original(*arguments, **named)

        self._queue, self._before = queue, vars(queue).get("put")
        self._put = queue.put = put
        self._stop = threading.Event()
        about = {"args": (self._stop,), "name": "zimage-disk", "daemon": True}
        threading.Thread(target=self._run, **about).start()

    def revert(self) -> None:
        """Stop; raises ``ZI-PATCH-COVERED``."""
        if self._put is None:
            return
        if vars(self._queue).get("put") is not self._put:
            raise ZImageError("ZI-PATCH-COVERED", name=str(PUT))
        del self._queue.put
        if self._before is not None:  # another pack's, on the same object
            self._queue.put = self._before
        self._stop.set()
        self._put = None
        self.room.revert()

    def reasons(self) -> list[str]:
        """For ``/health/ready``."""
        return ["disk"] if self.active and self.watch.full else []

    def details(self) -> dict[str, Any]:
        """For ``/health``: percent in use."""
        return {"percent": {name: round(use.percent, 1) for name, use in self.watch.uses.items()}}

    def _run(self, stop: threading.Event) -> None:
        told = False
        while True:
            try:
                self.step()
            except Exception:
                if not told:
                    log.exception("Z-Image: the disk guard failed, and tries again")
                told = True
            if stop.wait(PERIOD):
                return

    def step(self) -> None:
        """Look once, and delete when it is time or a disk has just filled up."""
        news = self.watch.look()
        if news:
            log.warning("Z-Image: %s", news)
            self.alerts.tell(news)
        known = getattr(self.server.prompt_queue, "refused", None) is None  # whose files are whose
        due = (news and self.watch.full) or self.timer() >= self.due
        if self.settings.keep_days and known and due:
            self.due = self.timer() + EVERY
            before = self.clock() - self.settings.keep_days * DAY
            count, size = sweep(self.roots(), self.server.prompt_queue, before)
            if count:
                log.info("Z-Image: %d old files deleted (%.1f MiB)", count, size / 2**20)

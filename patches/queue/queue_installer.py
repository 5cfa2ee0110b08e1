"""Installs the durable queue (:mod:`.durable_queue`) in the host's server."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

from ...config import Settings
from ...errors import ZImageError
from ..base import comfyui, guardian
from ..base.hooks import HookPoint
from ..base.limits import DEFAULTS, request_limits
from ..base.registry import About
from .durable_queue import durable
from .prompt_store import Limits, Store

log = logging.getLogger(__name__)

ABOUT = About(
    part="queue",
    bare_host="`kill -9` loses queue and history; 10 MB of metadata make `/history` 200 MB.",
    here=(
        "SQLite, `fsync` before 200, at most 64 MiB of history, read from disk"
        " (`history_on_disk.py`). A file that cannot be used, or that another server uses, refuses"
        " prompts until it can be used. See [decision 0008](decisions/0008-durable-queue.md)."
    ),
)
RETRY_SECONDS = 2.0
"""Between two attempts to open a file that another server has, or that cannot be used."""
PATIENCE = 10.0
"""Seconds that a server under a guardian waits for one that the kernel is still ending."""

SEAMS = (
    HookPoint("execution", "PromptQueue.put", ("self", "item")),
    HookPoint("execution", "PromptQueue.get", ("self",)),
    HookPoint("execution", "PromptQueue.task_done", ("self",)),
    HookPoint("execution", "PromptQueue.wipe_queue", ("self",)),
    HookPoint("execution", "PromptQueue.delete_queue_item", ("self",)),
)


def create() -> QueueInstaller:
    """Return the installer for the running server."""
    settings = Settings.from_environment()
    days = settings.disk.keep_days
    limits = Limits(seconds=days * 86400) if days else Limits()  # as long as its files are kept
    # Only under a guardian is there a process that is about to end.
    patience = PATIENCE if guardian.serves() else 0.0
    max_waiting = request_limits(settings.limits)["waiting"]
    store = Store(comfyui.folder(), limits, patience=None)
    return QueueInstaller(comfyui.server(), store, max_waiting, patience)


@dataclass
class QueueInstaller:
    """Replaces the server's queue by the durable one, before the worker starts.

    The parameters are those of :class:`.DurableQueue`; ``queue`` is that, once it is installed.
    """

    server: Any
    store: Store
    max_waiting: int = DEFAULTS["waiting"]
    patience: float = 0.0
    original: Any = None
    queue: Any = None

    @property
    def active(self) -> bool:
        """True while the server's queue is the durable one."""
        return self.queue is not None and self.server.prompt_queue is self.queue

    def apply(self) -> None:
        """Install the queue; raises ``ZI-PATCH-SEAM``.

        A thread, and each new prompt, tries to open a file that cannot be used now.
        """
        if self.active:
            return
        original = self.server.prompt_queue
        for seam in SEAMS:
            seam.verify(vars(seam.owner())[seam.name])
        if type(original) is not SEAMS[0].owner():  # another pack was here first
            found = type(original).__qualname__
            raise ZImageError(
                "ZI-PATCH-SEAM", name="prompt_queue", found=found, expected="PromptQueue"
            )
        self.queue = durable(
            original, self.store, max_waiting=self.max_waiting, patience=self.patience
        )
        self.original = original
        self.server.prompt_queue = self.queue
        _give_back_at_exit(self.queue)
        if self.queue.refused is not None:
            log.error("Z-Image: %s", self.queue.refused)
            threading.Thread(target=self._retry, name="zimage-queue", daemon=True).start()

    def _retry(self) -> None:
        while self.active:
            if self.queue.try_to_open() is None:
                log.warning("Z-Image: the queue is open")
                self.server.queue_updated()
                return
            time.sleep(RETRY_SECONDS)

    def reasons(self) -> list[str]:
        """Return ``queue`` for ``/health/ready`` while a prompt would not be kept."""
        queue = self.queue
        failing = queue is not None and (queue.refused or not queue.store.works())
        return ["queue"] if failing else []

    def details(self) -> dict[str, str]:
        """Return for ``/health`` why the queue is not open; nothing while it is."""
        error = self.queue.refused if self.queue is not None else None
        if error is None:
            return {}
        text = {"zh": error.chinese, "en": error.english}
        return {"status": "refused", "code": error.code, **text}

    def revert(self) -> None:
        """Put the host's queue back; prompts stay on disk for the next start."""
        if self.queue is None:
            return
        if not self.active:
            raise ZImageError("ZI-PATCH-COVERED", name="PromptServer.prompt_queue")
        self.server.prompt_queue = self.original
        self.store.close()
        self.queue = None


def _give_back_at_exit(queue: Any) -> None:
    """Give running prompts back when the process ends in order; SIGTERM still ends it."""
    atexit.register(queue.give_back)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def end(number: int, _frame: object) -> None:
        queue.give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)

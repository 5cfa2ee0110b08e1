"""Room for what requests want to keep: uploads, workflows and settings.

Uploads are refused above the limit of the disk guard, as prompts are. What people write themselves
(:data:`SMALL`: a workflow, a setting) is kept as long as there is room for it, but is refused
before the host begins: it empties the file first, so a full disk would cost what was there before.
A disk that is full all the same is told with the same code, instead of 500.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from ..base import comfyui
from ..disk.usage import Watch
from . import fuse
from .gate import Gate
from .paths import UPLOADS

SMALL, MARGIN = 2**20, 2**16
"""Bytes of a request that counts as somebody's own work; and of what is left free beside it."""
USERS = ("/userdata/", "/settings", "/users")
"""What keeps files in the user's folder."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Room(Gate):
    """Before the handlers that write, and behind all: the first after the judgement of origins.

    Args:
        folders: ``input`` and ``user`` of the host.
    """

    def __init__(
        self, server: Any, watch: Watch, folders: Callable[[], Mapping[str, Path]]
    ) -> None:
        super().__init__(server, self._judge)
        self.watch, self.folders = watch, folders

    def apply(self) -> None:
        """As :meth:`.gate.Gate.apply`; what is further in may keep a body on a disk, too."""
        self.check()
        if self.handle not in self.server.app.middlewares:
            self.server.app.middlewares.insert(1, self.handle)
        self.active = True

    @web.middleware
    async def handle(self, request: web.Request, handler: fuse.Handler) -> web.StreamResponse:
        """Judge, hand on, and tell of a disk that is full."""
        try:
            return await super().handle(request, handler)
        except OSError as error:
            if not self.active or error.errno not in FULL:
                raise
        paths = (*self.watch.folders().values(), *self.folders().values())
        told = self.watch.worst(*paths, Path(tempfile.gettempdir()))
        fuse.note(comfyui.folder() / fuse.LOG, request, told.code, "refused")
        return fuse.refusal(request, told)

    async def _judge(self, request: web.Request) -> None:
        path = request.path.removeprefix("/api")
        upload = path in UPLOADS
        if request.method != "POST" or not (upload or path.startswith(USERS)):
            return
        length = request.content_length
        large = upload or length is None or length > SMALL
        folder = self.folders()["input" if upload else "user"]
        self.watch.room(folder, (length or 0) + MARGIN, large)

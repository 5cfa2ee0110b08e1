"""Space on disk for what requests want to store: uploads, workflows and settings.

Uploads are refused above the limit of the disk guard, as prompts are. What people write themselves
(up to :data:`SMALL` bytes: a workflow, a setting) is accepted as long as it fits, but is refused
before the host begins to write: the host empties the file first, so a full disk would cost the
version that was there. A disk that is full all the same is answered with the same code instead of
500.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from aiohttp import web

from ...errors import ZImageError
from ..base import refusals
from ..base.middleware_slot import Gate, Handler, Slot
from .paths import UPLOADS

SMALL = 2**20
"""Bytes of a request that counts as somebody's own work."""
MARGIN = 2**16
"""Bytes that stay free beside a request."""
USERS = ("/userdata/", "/settings", "/users")
"""Routes that write to the user's folder."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disks(Protocol):
    """What is needed of the disk guard's watch (:class:`..disk.usage.Watch`)."""

    @property
    def folders(self) -> Callable[[], Mapping[str, Path]]:
        """Folders that are watched, by name."""
        ...

    def check_space(self, path: Path, length: int, large: bool) -> None:
        """Raise where a folder's disk has no space for so many bytes more."""
        ...

    def fullest(self, *paths: Path) -> ZImageError:
        """Return the error for the fullest disk of some folders."""
        ...


class DiskAdmission(Gate):
    """Judges requests that write, and answers when a disk is full.

    Args:
        slot: its place.
        disks: the disks that are watched.
        folders: ``input`` and ``user`` of the host.
    """

    def __init__(self, slot: Slot, disks: Disks, folders: Callable[[], Mapping[str, Path]]) -> None:
        super().__init__(slot, self._judge, _writes)
        self.disks = disks
        self.folders = folders

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Judge a request and hand it on; answer it when a disk is full."""
        try:
            return await super().handle(request, handler)
        except OSError as error:
            if error.errno not in FULL:
                raise
        paths = (*self.disks.folders().values(), *self.folders().values())
        full = self.disks.fullest(*paths, Path(tempfile.gettempdir()))
        return refusals.refuse(request, full)

    async def _judge(self, request: web.Request) -> None:
        upload = _path(request) in UPLOADS
        length = request.content_length
        large = upload or length is None or length > SMALL
        folder = self.folders()["input" if upload else "user"]
        self.disks.check_space(folder, (length or 0) + MARGIN, large)


def _path(request: web.Request) -> str:
    return request.path.removeprefix("/api")


def _writes(request: web.Request) -> bool:
    path = _path(request)
    return request.method == "POST" and (path in UPLOADS or path.startswith(USERS))


def create(slot: Slot, disks: Disks) -> DiskAdmission:
    """Return the middleware for the running server."""
    import folder_paths

    def folders() -> dict[str, Path]:
        return {
            "input": Path(folder_paths.get_input_directory()),
            "user": Path(folder_paths.get_user_directory()),
        }

    return DiskAdmission(slot, disks, folders)

"""How full disks are, and when that is news."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ZImageError

log = logging.getLogger(__name__)

ROOM = 2.0
"""Percentage points below the limit at which a full disk has room again."""
CHINESE = {"space": "空间", "inodes": "文件数（inode）"}

StatVfs = Callable[[Path], Any]


class Use(NamedTuple):
    """Percent of a disk's space or inodes, whichever is scarcer, the folder on it, free bytes."""

    percent: float
    what: str
    path: Path
    free: int


def measure(path: Path, statvfs: StatVfs = os.statvfs) -> Use:
    """As ``df`` counts: what is reserved for root is no room.

    Raises:
        OSError: the disk does not answer.
    """
    there = path
    while not there.exists() and there != there.parent:  # temp is made when it is first needed
        there = there.parent
    found = statvfs(there)
    space = _percent(found.f_blocks - found.f_bfree, found.f_bavail)
    inodes = _percent(found.f_files - found.f_ffree, found.f_favail)
    free = found.f_bavail * found.f_frsize
    return max(Use(space, "space", path, free), Use(inodes, "inodes", path, free))


def _percent(used: int, free: int) -> float:
    return 100 * used / (used + free) if used + free > 0 else 0.0  # not every one counts inodes


class Watch:
    """The disks of some folders against one limit.

    Args:
        folders: the folders by name; asked each time.
        limit: percent; a disk above it is full, until it is :data:`ROOM` below.

    Attributes:
        uses: what was last seen, by name.
        full: the fullest disk while one is full.
    """

    def __init__(
        self,
        folders: Callable[[], Mapping[str, Path]],
        limit: float,
        statvfs: StatVfs = os.statvfs,
    ) -> None:
        self.folders, self.limit, self.statvfs = folders, limit, statvfs
        self.uses: dict[str, Use] = {}
        self.full: Use | None = None
        self._mute: set[str] = set()

    def look(self) -> ZImageError | None:
        """Measure; gives ``ZI-DISK-FULL`` or ``ZI-DISK-ROOM`` when that has just come about.

        A disk that does not answer is told once and left out.
        """
        uses: dict[str, Use] = {}
        for name, path in self.folders().items():
            try:
                uses[name] = measure(path, self.statvfs)
            except OSError as error:
                if name not in self._mute:
                    log.warning("Z-Image: the disk of %s does not answer: %s", path, error)
                self._mute.add(name)
        self.uses, was = uses, self.full
        if not uses:
            return None
        worst = max(uses.values(), key=lambda use: use.percent)  # of one disk, the first
        self.full = worst if worst.percent > self.limit - (ROOM if was else 0) else None
        if bool(was) is bool(self.full):
            return None
        return self._error("ZI-DISK-FULL" if self.full else "ZI-DISK-ROOM", worst)

    def check(self) -> None:
        """Raises ``ZI-DISK-FULL`` while a disk is full."""
        if (full := self.full) is not None:
            raise self._error("ZI-DISK-FULL", full)

    def room(self, path: Path, length: int, large: bool) -> None:
        """Raises ``ZI-DISK-FULL`` where a folder's disk has no room for so many bytes more.

        Args:
            large: refused while a disk is full, too, and where this one is above the limit.
        """
        if large:
            self.check()
        try:
            use = measure(path, self.statvfs)
        except OSError:
            return  # writing will tell
        if use.free < length or use.percent >= 100 or (large and use.percent > self.limit):
            raise self._error("ZI-DISK-FULL", use)

    def worst(self, *paths: Path) -> ZImageError:
        """``ZI-DISK-FULL`` of the fullest disk of some folders: one of them has just failed."""
        uses: list[Use] = []
        for path in paths:
            with contextlib.suppress(OSError):
                uses.append(measure(path, self.statvfs))
        nothing = Use(100.0, "space", paths[0], 0)
        return self._error("ZI-DISK-FULL", max(uses, key=lambda use: use.percent, default=nothing))

    def _error(self, code: str, use: Use) -> ZImageError:
        return ZImageError(
            code,
            path=str(use.path),
            found=f"{use.percent:.1f}",
            what=use.what,
            what_zh=CHINESE[use.what],
            maximum=f"{self.limit:g}",
            back=f"{self.limit - ROOM:g}",
        )

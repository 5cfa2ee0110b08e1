"""How much of each disk is in use, and when a disk becomes full or has space again."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ZImageError
from ...errors.bilingual import Bilingual

log = logging.getLogger(__name__)

HYSTERESIS = 2.0
"""Percentage points below the limit at which a full disk counts as having space again."""
NAMES = {"space": Bilingual("空间", "space"), "inodes": Bilingual("文件数（inode）", "inodes")}

StatVfs = Callable[[Path], Any]


class Use(NamedTuple):
    """How much of a disk is in use.

    Attributes:
        percent: of the space or of the inodes, whichever is scarcer.
        what: which of them: ``space`` or ``inodes``.
        path: a folder on the disk.
        free: bytes.
    """

    percent: float
    what: str
    path: Path
    free: int


def measure(path: Path, statvfs: StatVfs = os.statvfs) -> Use:
    """Return the use of a folder's disk, counted as ``df`` does: without root's reserve.

    Raises:
        OSError: the disk does not respond.
    """
    existing = path
    while not existing.exists() and existing != existing.parent:  # temp is made on first use
        existing = existing.parent
    disk = statvfs(existing)
    space = _percent(disk.f_blocks - disk.f_bfree, disk.f_bavail)
    inodes = _percent(disk.f_files - disk.f_ffree, disk.f_favail)
    free = disk.f_bavail * disk.f_frsize
    return max(Use(space, "space", path, free), Use(inodes, "inodes", path, free))


def _percent(used: int, free: int) -> float:
    # Some file systems have no number of inodes, and report 0.
    return 100 * used / (used + free) if used + free > 0 else 0.0


class Watch:
    """The disks of some folders against one limit.

    Args:
        folders: returns the folders by name; called at each measurement.
        limit: percent; a disk above it is full, until it is :data:`HYSTERESIS` below.
        statvfs: as :func:`os.statvfs`.

    Attributes:
        uses: the last measurement, by name.
        full: the fullest disk while one is full.
    """

    def __init__(
        self,
        folders: Callable[[], Mapping[str, Path]],
        limit: float,
        statvfs: StatVfs = os.statvfs,
    ) -> None:
        self.folders = folders
        self.limit = limit
        self.statvfs = statvfs
        self.uses: dict[str, Use] = {}
        self.full: Use | None = None
        self._silent: set[str] = set()

    def look(self) -> ZImageError | None:
        """Measure; return ``ZI-DISK-FULL`` or ``ZI-DISK-ROOM`` when that has just changed."""
        self.uses = self._measure_all()
        if not self.uses:
            return None
        was_full = self.full is not None
        fullest = max(self.uses.values(), key=lambda use: use.percent)
        limit = self.limit - (HYSTERESIS if was_full else 0)
        self.full = fullest if fullest.percent > limit else None
        if was_full is (self.full is not None):
            return None
        return self._error("ZI-DISK-FULL" if self.full else "ZI-DISK-ROOM", fullest)

    def _measure_all(self) -> dict[str, Use]:
        """Return the use by name; a disk that does not respond is logged once and left out."""
        uses: dict[str, Use] = {}
        for name, path in self.folders().items():
            try:
                uses[name] = measure(path, self.statvfs)
            except OSError as error:
                if name not in self._silent:
                    log.warning("Z-Image: the disk of %s does not answer: %s", path, error)
                self._silent.add(name)
        return uses

    def check(self) -> None:
        """Raise ``ZI-DISK-FULL`` while a disk is full."""
        if (full := self.full) is not None:
            raise self._error("ZI-DISK-FULL", full)

    def check_space(self, path: Path, length: int, large: bool) -> None:
        """Raise ``ZI-DISK-FULL`` where a folder's disk has no space for so many bytes more.

        Args:
            path: the folder.
            length: bytes.
            large: refuse also while any disk is full, and where this one is above the limit.
        """
        if large:
            self.check()
        try:
            use = measure(path, self.statvfs)
        except OSError:
            return  # writing fails with the reason
        if use.free < length or use.percent >= 100 or (large and use.percent > self.limit):
            raise self._error("ZI-DISK-FULL", use)

    def fullest(self, *paths: Path) -> ZImageError:
        """Return ``ZI-DISK-FULL`` for the fullest disk of some folders, one of which has failed."""
        uses: list[Use] = []
        for path in paths:
            with contextlib.suppress(OSError):
                uses.append(measure(path, self.statvfs))
        unknown = Use(100.0, "space", paths[0], 0)
        return self._error("ZI-DISK-FULL", max(uses, key=lambda use: use.percent, default=unknown))

    def _error(self, code: str, use: Use) -> ZImageError:
        return ZImageError(
            code,
            path=str(use.path),
            found=f"{use.percent:.1f}",
            what=NAMES[use.what],
            maximum=f"{self.limit:g}",
            back=f"{self.limit - HYSTERESIS:g}",
        )

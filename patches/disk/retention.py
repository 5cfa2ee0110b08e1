"""Old files in a folder go; what is still named, models and everything that is no file stay.

Links are neither followed nor removed. Folders are walked by file descriptors, so one that is
exchanged for a link meanwhile leads nowhere else.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .kept_files import Named

DEEPEST = 64
"""Levels of subfolders that are looked into; each holds a file descriptor open."""
HOSTS_OWN = "_output_images_will_be_put_here"
"""A file of ComfyUI's repository."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sweep(roots: Mapping[Path, Iterable[Path]], queue: Any, before: float) -> tuple[int, int]:
    """Delete what is due in folders (see :func:`.kept.roots`); files that went, and their bytes."""
    names = Named(queue)
    count = size = 0
    for root, spared in roots.items():
        files, length = Sweep(
            root, before, names, spared, lambda: bool(queue.currently_running)
        ).run()
        count, size = count + files, size + length
    return count, size


class Sweep:
    """One round over one folder.

    Args:
        root: the folder; may itself be a link, as people link their output to another disk.
        before: files last changed earlier than this go; seconds since 1970.
        named: names that stay (see :class:`.kept.Named`); asked for each file that is old.
        spared: folders below ``root`` that are left alone.
        busy: True while a node may be about to write; folders stay then, even empty.
    """

    def __init__(
        self,
        root: Path,
        before: float,
        named: Callable[[], Collection[str]],
        spared: Iterable[Path] = (),
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.given, self.root = os.path.abspath(root), os.path.realpath(root)
        self.before, self.busy, self.named = before, busy, named
        self.spared = {os.path.realpath(path) for path in spared}
        self.count = self.bytes = 0

    def run(self) -> tuple[int, int]:
        """Remove what is due; what cannot be removed stays. A missing folder is an empty one.

        Returns:
            How many files went, and their bytes.
        """
        with contextlib.suppress(FileNotFoundError), _opened(self.root) as folder:
            self._folder(folder, "", DEEPEST)
        return self.count, self.bytes

    def _folder(self, folder: int, place: str, deepest: int) -> bool:
        """Sweep an open folder, ``place`` below the root; True when something in it has gone."""
        changed = False
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # gone, exchanged, or not ours to remove
                    info = entry.stat(follow_symlinks=False)
                    here = os.path.join(place, entry.name)
                    if stat.S_ISDIR(info.st_mode):
                        changed |= self._subfolder(folder, entry.name, here, deepest)
                    elif stat.S_ISREG(info.st_mode) and self._goes(here, info.st_mtime):
                        os.unlink(entry.name, dir_fd=folder)
                        self.count, self.bytes = self.count + 1, self.bytes + info.st_size
                        changed = True
        return changed

    def _subfolder(self, parent: int, name: str, place: str, deepest: int) -> bool:
        if not deepest or os.path.join(self.root, place) in self.spared:
            return False
        with _opened(name, parent) as folder:
            changed = self._folder(folder, place, deepest - 1)
        if changed and not self.busy():
            os.rmdir(name, dir_fd=parent)  # fails, and so it stays, unless it is empty now
            return True
        return False

    def _goes(self, place: str, changed: float) -> bool:
        if changed >= self.before or place == HOSTS_OWN:
            return False
        names = (place, os.path.join(self.given, place), os.path.join(self.root, place))
        kept = self.named()
        return not any(name in kept for name in names)


@contextlib.contextmanager
def _opened(name: str, parent: int | None = None) -> Iterator[int]:
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)

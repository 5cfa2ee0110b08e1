"""Delete old files in a folder, except models, special files, and files that prompts name.

Links are neither followed nor removed. Folders are walked by file descriptors, so that a folder
that is replaced by a link meanwhile is not followed either.
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
"""Levels of subfolders that are walked; each keeps a file descriptor open."""
HOSTS_OWN = "_output_images_will_be_put_here"
"""A file of ComfyUI's repository."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sweep(roots: Mapping[Path, Iterable[Path]], queue: Any, before: float) -> tuple[int, int]:
    """Delete old files in folders; return how many were deleted, and their bytes.

    Args:
        roots: see :func:`.kept_files.roots`.
        queue: the host's; its prompts and history name files.
        before: see :class:`Sweep`.
    """
    names = Named(queue)
    count = 0
    size = 0
    for root, spared in roots.items():
        sweep_root = Sweep(root, before, names, spared, lambda: bool(queue.currently_running))
        sweep_root.run()
        count += sweep_root.count
        size += sweep_root.bytes
    return count, size


class Sweep:
    """One sweep of one folder.

    Args:
        root: the folder; may itself be a link, as people link their output to another disk.
        before: files last changed earlier than this are deleted; seconds since 1970.
        named: returns names that are kept (see :class:`.kept_files.Named`); called for each old
            file.
        spared: folders below ``root`` that are not touched.
        busy: returns True while a node may be about to write; empty folders are kept then.

    Attributes:
        count: files that were deleted.
        bytes: their size.
    """

    def __init__(
        self,
        root: Path,
        before: float,
        named: Callable[[], Collection[str]],
        spared: Iterable[Path] = (),
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self.given = os.path.abspath(root)
        self.root = os.path.realpath(root)
        self.before = before
        self.busy = busy
        self.named = named
        self.spared = {os.path.realpath(path) for path in spared}
        self.count = 0
        self.bytes = 0

    def run(self) -> tuple[int, int]:
        """Delete old files; return how many were deleted, and their bytes.

        Files that cannot be deleted are kept. A missing folder counts as empty.
        """
        with contextlib.suppress(FileNotFoundError), _opened(self.root) as folder:
            self._sweep_folder(folder, "", DEEPEST)
        return self.count, self.bytes

    def _sweep_folder(self, folder: int, place: str, levels_left: int) -> bool:
        """Sweep an open folder, ``place`` below the root; return whether anything was deleted."""
        deleted_any = False
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):  # removed, replaced, or without permission
                    info = entry.stat(follow_symlinks=False)
                    here = os.path.join(place, entry.name)
                    if stat.S_ISDIR(info.st_mode):
                        deleted_any |= self._sweep_subfolder(folder, entry.name, here, levels_left)
                    elif stat.S_ISREG(info.st_mode) and self._is_due(here, info.st_mtime):
                        os.unlink(entry.name, dir_fd=folder)
                        self.count += 1
                        self.bytes += info.st_size
                        deleted_any = True
        return deleted_any

    def _sweep_subfolder(self, parent: int, name: str, place: str, levels_left: int) -> bool:
        if not levels_left or os.path.join(self.root, place) in self.spared:
            return False
        with _opened(name, parent) as folder:
            deleted_any = self._sweep_folder(folder, place, levels_left - 1)
        if deleted_any and not self.busy():
            os.rmdir(name, dir_fd=parent)  # raises unless it is empty now
            return True
        return False

    def _is_due(self, place: str, modified_at: float) -> bool:
        if modified_at >= self.before or place == HOSTS_OWN:
            return False
        names = (place, os.path.join(self.given, place), os.path.join(self.root, place))
        kept_names = self.named()
        return not any(name in kept_names for name in names)


@contextlib.contextmanager
def _opened(name: str, parent: int | None = None) -> Iterator[int]:
    folder = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)

"""Notices which files a node's ``INPUT_TYPES`` reads: then its inputs can change."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

EVENTS = frozenset({"open", "os.listdir", "os.scandir", "glob.glob", "glob.glob/2"})
"""Audit events of Python that access files and folders."""
MAX_PATHS = 5000


class FileWatch:
    """Records the files and folders that a thread accesses while it is watched.

    Attributes:
        seen: whether there were any since the last :meth:`watching`.
        paths: all of them, in order, as keys.
    """

    def __init__(self) -> None:
        self.seen = False
        self.paths: dict[str, None] = {}
        self._thread = 0
        sys.addaudithook(self._audit)
        import folder_paths

        original = folder_paths.get_filename_list

        def get_filename_list(folder_name: str) -> list[str]:
            names = original(folder_name)
            if self.on:
                self._record(_folders(folder_name))  # its cache opens no file
            return names

        folder_paths.get_filename_list = get_filename_list

    @property
    def on(self) -> bool:
        """Whether the calling thread is watched."""
        return self._thread == threading.get_ident()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the calling thread only: nodes may run in others."""
        self.seen = False
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = 0

    def _audit(self, event: str, args: Any) -> None:
        if self.on and event in EVENTS:
            # For a glob, Python audits the folders that it scans as well.
            self._record(() if event.startswith("glob") else args[:1])

    def _record(self, paths: Iterable[Any]) -> None:
        self.seen = True
        for path in paths:
            path = os.getcwd() if path is None else path
            if isinstance(path, str | os.PathLike) and len(self.paths) < MAX_PATHS:
                self.paths[os.path.abspath(path)] = None


def _folders(name: str) -> list[str]:
    """Return all folders whose files are in a list of files."""
    import folder_paths

    name = getattr(folder_paths, "map_legacy", str)(name)
    roots = folder_paths.folder_names_and_paths.get(name, ([], set()))[0]
    cached = folder_paths.filename_list_cache.get(name)
    return [*roots, *(cached[1] if cached else ())]

"""Folders that a pack wants served: only those inside the pack, under names that are free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ...errors import ZImageError
from ..protocol import messages as m

NAME = re.compile(r"(?!\.)[^\x00-\x1f\x7f/\\{}%?#]{1,200}")
"""A name below ``/extensions/``: one path segment without characters that URLs interpret."""


def inside(folder: str, root: str) -> str | None:
    """Return the real path of a folder, if it exists and is inside ``root``; else None."""
    real = os.path.realpath(folder)
    is_inside = os.path.isdir(real) and os.path.commonpath([real, root]) == root
    return real if is_inside else None


def root_of(path: str) -> str | None:
    """Return the real folder of a pack; None for a pack of one file, which has no folder."""
    return os.path.realpath(path) if os.path.isdir(path) else None


class Folders:
    """The folders of one pack that are served as they are.

    Args:
        pack: its name.
        path: its folder or file.
    """

    def __init__(self, pack: str, path: str) -> None:
        self.pack = pack
        self.root = root_of(path)
        self.findings: list[ZImageError] = []

    def page(self, info: m.PackInfo, taken: set[str]) -> dict[str, str]:
        """Return entries for ``EXTENSION_WEB_DIRS``.

        Args:
            info: the pack's description.
            taken: names that are in use.
        """
        folders = dict(self._checked(info.web))
        for name in list(folders):
            if not NAME.fullmatch(name) or name in taken:
                self.refuse(name)
                del folders[name]
        return folders

    def static(self, info: m.PackInfo) -> dict[str, str]:
        """Return real folders by the prefix of their paths."""
        folders = dict(self._checked(info.static))
        return {k: v for k, v in folders.items() if k.startswith("/") and len(k) > 1}

    def _checked(self, folders: dict[str, str]) -> Iterator[tuple[str, str]]:
        for name, folder in folders.items():
            real = inside(folder, self.root) if self.root is not None else None
            if real is None:
                self.refuse(folder)
            else:
                yield name, real

    def refuse(self, folder: str) -> None:
        """Report a folder or name that is not served."""
        self.findings.append(ZImageError("ZI-SANDBOX-WEB", pack=self.pack, found=folder[:300]))

"""Folders that a pack wants served: only such as lie in the pack, under names that are free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ...errors import ZImageError
from ..protocol import messages as m

NAME = re.compile(r"(?!\.)[^\x00-\x1f\x7f/\\{}%?#]{1,200}")
"""A name below ``/extensions/``: one folder, and nothing that an address reads otherwise."""


def inside(folder: str, root: str) -> str | None:
    """The real path of a folder, if it is one and lies in the pack's own, links and all."""
    real = os.path.realpath(folder)
    good = os.path.isdir(real) and os.path.commonpath([real, root]) == root
    return real if good else None


def root_of(path: str) -> str | None:
    """The real folder of a pack; None for a pack of one file, which has none of its own."""
    return os.path.realpath(path) if os.path.isdir(path) else None


class Folders:
    """What is served of one pack as it is.

    Args:
        pack: its name.
        path: its folder or file.
    """

    def __init__(self, pack: str, path: str) -> None:
        self.pack, self.root = pack, root_of(path)
        self.findings: list[ZImageError] = []

    def page(self, info: m.PackInfo, taken: set[str]) -> dict[str, str]:
        """Entries for ``EXTENSION_WEB_DIRS``.

        Args:
            info: what the pack says.
            taken: names that are somebody else's.
        """
        found = dict(self._checked(info.web))
        for name in list(found):
            if not NAME.fullmatch(name) or name in taken:
                self.refuse(name)
                del found[name]
        return found

    def static(self, info: m.PackInfo) -> dict[str, str]:
        """Real folders, by the beginning of their paths."""
        found = dict(self._checked(info.static))
        return {k: v for k, v in found.items() if k.startswith("/") and len(k) > 1}

    def _checked(self, folders: dict[str, str]) -> Iterator[tuple[str, str]]:
        for name, folder in folders.items():
            real = inside(folder, self.root) if self.root is not None else None
            if real is None:
                self.refuse(folder)
            else:
                yield name, real

    def refuse(self, found: str) -> None:
        """Something is not served."""
        self.findings.append(ZImageError("ZI-SANDBOX-WEB", pack=self.pack, found=found[:300]))

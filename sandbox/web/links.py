"""Symbolic links in packs that lead out of them, in folders that ComfyUI itself serves.

ComfyUI serves or reads ``locales``, ``subgraphs`` and folders of workflows of every folder in
``custom_nodes``, whether that pack is loaded or not, and follows links there. A link to a private
file of the user would reach the page, where a script of the pack could send it elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

WORKFLOWS = ("example_workflows", "example", "examples", "workflow", "workflows")
READ = ("locales", "subgraphs")
ANSWERS = ("/i18n", "/global_subgraphs")
"""Paths whose responses contain files of :data:`READ`."""
DEEPEST = 3


def outward(pack: str, names: Iterable[str]) -> Iterator[str]:
    """Yield links that lead out of the pack: in these folders of it, or the folders themselves."""
    root = os.path.realpath(pack)
    for name in names:
        folder = os.path.join(root, name)
        if os.path.lexists(folder):
            yield from _outward(folder, root, 0)


def _outward(path: str, root: str, depth: int) -> Iterator[str]:
    if os.path.islink(path):
        real = os.path.realpath(path)
        if os.path.commonpath([real, root]) != root:
            yield path
            return
    if os.path.isdir(path) and depth < DEEPEST:
        for name in os.listdir(path):
            yield from _outward(os.path.join(path, name), root, depth + 1)


def shown(path: str) -> bool:
    """Return whether the response to this path contains files of packs."""
    path = path.removeprefix("/api")
    return any(path == served or path.startswith(served + "/") for served in ANSWERS)


def leaking(folders: Iterable[str], place: Callable[[str], str]) -> list[str]:
    """Return such links in all packs that do not run in ComfyUI's process, loaded or not.

    Args:
        folders: folders that contain packs.
        place: see :meth:`loading.loader.PackLoader.place`.
    """
    paths: list[str] = []
    for folder in folders:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            pack = os.path.join(folder, name)
            if os.path.isdir(pack) and place(pack) != "host":
                paths += outward(pack, READ)
    return paths

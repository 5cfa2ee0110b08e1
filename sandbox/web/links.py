"""Links in packs that lead out of them, where ComfyUI itself reads what packs bring for the page.

ComfyUI serves and reads ``locales``, ``subgraphs`` and folders of workflows of every folder in
``custom_nodes``, whether that pack is loaded or not, and follows links there. A link to a file of
yours would be shown to the page, and a pack's part of the page could pass it on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

WORKFLOWS = ("example_workflows", "example", "examples", "workflow", "workflows")
READ = ("locales", "subgraphs")
ANSWERS = ("/i18n", "/global_subgraphs")
"""What is made of :data:`READ`."""
DEEPEST = 3


def outward(pack: str, names: Iterable[str]) -> Iterator[str]:
    """Links in these folders of a pack, and these folders, that lead out of the pack."""
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
    """Whether the answer to this path holds what packs bring."""
    path = path.removeprefix("/api")
    return any(path == one or path.startswith(one + "/") for one in ANSWERS)


def leaking(folders: Iterable[str], place: Callable[[str], str]) -> list[str]:
    """Such links in all packs that do not run in ComfyUI's process, loaded or not.

    Args:
        folders: those of packs.
        place: see :meth:`loading.Loading.place`.
    """
    found: list[str] = []
    for folder in folders:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            pack = os.path.join(folder, name)
            if os.path.isdir(pack) and place(pack) != "host":
                found += outward(pack, READ)
    return found

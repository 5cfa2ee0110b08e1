"""A node that fails while it saves leaves no file behind that nobody knows of.

A full disk, or an interrupt, in the middle of a batch: the pictures before it are saved, but the
host's history names only what nodes return. Here those files are listed under the node that failed.

Files count as left behind when they lie where the host has told a node to save, under the prefix
it gave and with a number that was free then. Nodes that number their files in another way are not
covered. A file that was being written may be incomplete.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..base.hooks import Argument, HookPoint, Patch, Patches
from ..disk.kept_files import names

log = logging.getLogger(__name__)

PLACE = HookPoint("folder_paths", "get_save_image_path", ("output_dir",))
DONE = HookPoint("execution", "PromptQueue.task_done", ("self", "history_result", "status"))
MOST = 1000
"""Places that are remembered for a prompt; for other threads than the worker's, which never ask."""


class Place(NamedTuple):
    """Where a node was told to save: folder, beginning of names, first free number."""

    folder: str
    stem: str
    first: int
    subfolder: str


class Thread(threading.local):
    """What the current thread has been told since its last prompt; the worker runs one by one."""

    def __init__(self) -> None:
        self.places: deque[Place] = deque(maxlen=MOST)


def create() -> Patches:
    """Both patches."""
    thread = Thread()

    def place(original: Callable[..., Any]) -> Callable[..., Any]:
        folder = Argument(original, "output_dir")

        def get_save_image_path(*arguments: Any, **named: Any) -> Any:
            found = original(*arguments, **named)
            if folder.of(arguments, named) == sys.modules["folder_paths"].get_output_directory():
                thread.places.append(Place(*found[:4]))
            return found

        return get_save_image_path

    def done(original: Callable[..., Any]) -> Callable[..., Any]:
        result = Argument(original, "history_result")
        how = Argument(original, "status")

        def task_done(*arguments: Any, **named: Any) -> Any:
            places = list(thread.places)
            thread.places.clear()
            status = how.of(arguments, named)
            if places and not getattr(status, "completed", True):
                try:
                    complete = listed(result.of(arguments, named), status, places)
                    arguments, named = result.replaced(arguments, named, complete)
                except Exception:  # the prompt has to end all the same
                    log.exception("Z-Image: files that were left behind are not listed")
            return original(*arguments, **named)

        return task_done

    return Patches(Patch(PLACE, place), Patch(DONE, done))


def listed(result: dict[str, Any], status: Any, places: Iterable[Place]) -> dict[str, Any]:
    """A result with what was left behind under the node that failed."""
    nodes = [data["node_id"] for _, data in status.messages if data.get("node_id")]
    outputs = result.get("outputs", {})
    files = left_behind(places, names([outputs]))
    if not files or not nodes:
        return result
    log.warning("Z-Image: node %s has failed and left %d files behind", nodes[-1], len(files))
    output = outputs.get(nodes[-1], {})
    mended = {**output, "images": [*output.get("images", []), *files]}
    return {**result, "outputs": {**outputs, nodes[-1]: mended}}


def left_behind(places: Iterable[Place], known: set[str]) -> list[dict[str, str]]:
    """Files that came about at places and are not known, as results name them."""
    found: dict[str, dict[str, str]] = {}
    for place in places:
        name = re.compile(re.escape(place.stem) + r"_(\d+)_")
        for file in sorted(os.listdir(place.folder)):
            match = name.match(file)
            path = os.path.normpath(os.path.join(place.subfolder, file))
            if match and int(match[1]) >= place.first and path not in known:
                entry = {"filename": file, "subfolder": place.subfolder, "type": "output"}
                found[path] = entry
    return list(found.values())

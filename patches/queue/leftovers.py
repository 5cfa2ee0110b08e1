"""Files that a node saved before it failed are listed in the history.

A full disk, or an interrupt, can stop a node in the middle of a batch. The pictures before it are
saved, but the host's history lists only what nodes return. Here such files are listed under the
node that failed.

A file counts as a leftover if it is in a folder where the host told a node to save, with the prefix
that it gave and a number that was free then. Nodes with numbers of another kind are not covered.
The last file may be incomplete.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..base import lifecycle
from ..base.hooks import Argument, Function, HookPoint, Patch, Patches
from ..base.lifecycle import Subscription
from ..base.output_files import referenced_files
from ..base.registry import About

log = logging.getLogger(__name__)

ABOUT = About(
    part="leftovers",
    bare_host="A node that fails while it saves leaves files that no history lists.",
    here="They are listed under that node.",
)
SAVE_PATH = HookPoint("folder_paths", "get_save_image_path", ("output_dir",))
END = lifecycle.PROMPT_ENDS.needs("self", "history_result", "status")
MAX_TARGETS = 1000
"""Targets that are kept for a prompt. Threads other than the worker collect them without an end."""


class SaveTarget(NamedTuple):
    """Where the host told a node to save: folder, prefix of names, first free number."""

    folder: str
    prefix: str
    first: int
    subfolder: str


class _Thread(threading.local):
    """The targets in the current thread since its last prompt."""

    def __init__(self) -> None:
        self.targets: deque[SaveTarget] = deque(maxlen=MAX_TARGETS)


def create() -> Leftovers:
    """Return the part."""
    return Leftovers()


class Leftovers(Patches):
    """Collects save targets, and completes the result of a prompt that failed."""

    def __init__(self) -> None:
        super().__init__(
            Patch(SAVE_PATH, self.collect_targets), Subscription("leftovers", END, self.complete)
        )
        self._thread = _Thread()

    def collect_targets(self, original: Function) -> Function:
        """Wrap the host's function that tells a node where to save."""
        folder = Argument(original, "output_dir")

        def get_save_image_path(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            if folder.of(arguments, named) == sys.modules["folder_paths"].get_output_directory():
                self._thread.targets.append(SaveTarget(*result[:4]))
            return result

        return get_save_image_path

    def complete(self, original: Function) -> Function:
        """Stand around the end of a prompt: add the leftovers to its result."""
        result = Argument(original, "history_result")
        status_argument = Argument(original, "status")

        def task_done(*arguments: Any, **named: Any) -> Any:
            targets = list(self._thread.targets)
            self._thread.targets.clear()
            status = status_argument.of(arguments, named)
            if targets and not getattr(status, "completed", True):
                try:
                    completed = with_leftovers(result.of(arguments, named), status, targets)
                    arguments, named = result.replaced(arguments, named, completed)
                except Exception:  # the prompt has to end all the same
                    log.exception("Z-Image: files of a failed node are not listed")
            return original(*arguments, **named)

        return task_done


def with_leftovers(
    result: dict[str, Any], status: Any, targets: Iterable[SaveTarget]
) -> dict[str, Any]:
    """Return a result with the leftovers listed under the node that failed."""
    nodes = [data["node_id"] for _, data in status.messages if data.get("node_id")]
    outputs = result.get("outputs", {})
    files = find_leftovers(targets, referenced_files([outputs]))
    if not files or not nodes:
        return result
    log.warning("Z-Image: node %s has failed and left %d files behind", nodes[-1], len(files))
    output = outputs.get(nodes[-1], {})
    completed = {**output, "images": [*output.get("images", []), *files]}
    return {**result, "outputs": {**outputs, nodes[-1]: completed}}


def find_leftovers(targets: Iterable[SaveTarget], listed: set[str]) -> list[dict[str, str]]:
    """Return the files that were created at targets and are not listed, in the form of results."""
    files: dict[str, dict[str, str]] = {}
    for target in targets:
        pattern = re.compile(re.escape(target.prefix) + r"_(\d+)_")
        for name in sorted(os.listdir(target.folder)):
            match = pattern.match(name)
            path = os.path.normpath(os.path.join(target.subfolder, name))
            if match and int(match[1]) >= target.first and path not in listed:
                files[path] = {"filename": name, "subfolder": target.subfolder, "type": "output"}
    return list(files.values())

"""What the disk guard never deletes: other folders, and files that prompts or history name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

_ANNOTATION = re.compile(r" ?\[(input|output|temp)\]$")
_LONGEST = 4096
"""Characters of a path on Linux; longer texts are no names of files."""


class Named:
    """The names in the prompts and the history of a queue, asked for before each deletion.

    The history is read once; later, prompts that wait or run are added.
    """

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self._names: set[str] | None = None
        self._seen: set[Any] = set()

    def __call__(self) -> set[str]:
        """Return all names until now."""
        if self._names is None:
            self._names = named(self.queue)
        with self.queue.mutex:
            items = [*self.queue.queue, *self.queue.currently_running.values()]
        new = [item for item in items if item[:2] not in self._seen]
        self._seen.update(item[:2] for item in new)
        self._names |= names(new)
        return self._names


def named(queue: Any) -> set[str]:
    """Return the names in the prompts and the history of a queue, see :func:`names`."""
    result: set[str] = set()
    with queue.mutex:
        ids = dict.fromkeys(queue.history)
    for id in ids:  # thousands, read from disk: without the mutex, so that prompts are accepted
        with queue.mutex:
            entry = queue.history.get(id)
        result |= names([entry])
    with queue.mutex:  # last: prompts may have been accepted, and others have ended meanwhile
        new = [queue.history[id] for id in queue.history if id not in ids]
        return result | names([*queue.queue, *queue.currently_running.values(), *new])


def names(values: list[Any]) -> set[str]:
    """Return every file that documents may name, and other texts.

    Results name files as ``{"filename", "subfolder"}``, inputs as ``sub/name.png [output]`` or by
    path. The folder is not compared, so that the result contains too many names, never too few.
    """
    remaining = list(values)
    result: set[str] = set()
    while remaining:
        value = remaining.pop()
        if isinstance(value, dict):
            name, subfolder = value.get("filename"), value.get("subfolder")
            if isinstance(name, str) and isinstance(subfolder, str):
                result.add(os.path.normpath(os.path.join(subfolder, name)))
                value = {**value, "filename": ""}
            remaining.extend(value.values())
        elif isinstance(value, (list, tuple)):
            remaining.extend(value)
        elif isinstance(value, str) and len(value) <= _LONGEST:
            result.add(os.path.normpath(_ANNOTATION.sub("", value)))
    return result


def roots(host: Any) -> dict[Path, set[Path]]:
    """Return the output and temp folder, each with the folders in it that are not touched.

    A folder that contains the host's program or the user's home, or that has another use as well,
    is left out: a mistake on the command line must not delete anybody's files.

    Args:
        host: ComfyUI's module ``folder_paths``.
    """
    swept = {Path(host.get_output_directory()), Path(host.get_temp_directory())}
    spared = {Path(host.get_input_directory()), Path(host.get_user_directory())}
    spared |= {Path(path) for entry in host.folder_names_and_paths.values() for path in entry[0]}
    spared = {path.resolve() for path in spared}
    vital = [Path(path).resolve() for path in (host.__file__, os.path.expanduser("~"))]
    result: dict[Path, set[Path]] = {}
    for root in sorted(swept):
        real = root.resolve()
        if real not in spared and not any(path.is_relative_to(real) for path in vital):
            result[root] = spared | {other.resolve() for other in swept} - {real}
    return result

"""What the disk guard never deletes: where it looks at all, and which files are still named."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

_ANNOTATION = re.compile(r" ?\[(input|output|temp)\]$")
_LONGEST = 4096
"""Characters of a path, as Linux has it; longer texts are no names of files."""


class Named:
    """What prompts and history of a queue may name, asked before each file that would go.

    History is read once; of prompts that were accepted since, those that wait or run are added.
    """

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self._found: set[str] | None = None
        self._known: set[Any] = set()

    def __call__(self) -> set[str]:
        """All names until now."""
        if self._found is None:
            self._found = named(self.queue)
        with self.queue.mutex:
            items = [*self.queue.queue, *self.queue.currently_running.values()]
        new = [item for item in items if item[:2] not in self._known]
        self._known.update(item[:2] for item in new)
        self._found |= names(new)
        return self._found


def named(queue: Any) -> set[str]:
    """What prompts and history of a queue may name, see :func:`names`."""
    found: set[str] = set()
    with queue.mutex:
        ids = dict.fromkeys(queue.history)
    for id in ids:  # thousands, read from disk: prompts are accepted between them
        with queue.mutex:
            entry = queue.history.get(id)
        found |= names([entry])
    with queue.mutex:  # last: an id may have been accepted again, and ended ones are new
        new = [queue.history[id] for id in queue.history if id not in ids]
        return found | names([*queue.queue, *queue.currently_running.values(), *new])


def names(values: list[Any]) -> set[str]:
    """Every file that documents may name, and other texts.

    Results name files as ``{"filename", "subfolder"}``, inputs as ``sub/name.png [output]`` or by
    path. Which folder is meant is not looked at, so rather too much is found than too little.
    """
    left = list(values)
    found: set[str] = set()
    while left:
        value = left.pop()
        if isinstance(value, dict):
            name, subfolder = value.get("filename"), value.get("subfolder")
            if isinstance(name, str) and isinstance(subfolder, str):
                found.add(os.path.normpath(os.path.join(subfolder, name)))
                value = {**value, "filename": ""}
            left.extend(value.values())
        elif isinstance(value, (list, tuple)):
            left.extend(value)
        elif isinstance(value, str) and len(value) <= _LONGEST:
            found.add(os.path.normpath(_ANNOTATION.sub("", value)))
    return found


def roots(host: Any) -> dict[Path, set[Path]]:
    """Output and temp folder, each with the folders in it that are left alone.

    One that holds the host's program or the user's home, or that is used for something else as
    well, is missing: a slip on the command line must not cost anybody's files.

    Args:
        host: ComfyUI's module ``folder_paths``.
    """
    swept = {Path(host.get_output_directory()), Path(host.get_temp_directory())}
    spared = {Path(host.get_input_directory()), Path(host.get_user_directory())}
    spared |= {Path(one) for entry in host.folder_names_and_paths.values() for one in entry[0]}
    spared = {path.resolve() for path in spared}
    vital = [Path(path).resolve() for path in (host.__file__, os.path.expanduser("~"))]
    found: dict[Path, set[Path]] = {}
    for root in sorted(swept):
        real = root.resolve()
        if real not in spared and not any(one.is_relative_to(real) for one in vital):
            found[root] = spared | {other.resolve() for other in swept} - {real}
    return found

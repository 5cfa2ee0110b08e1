"""What the disk guard never deletes: other folders, and files that prompts or history name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..base.output_files import referenced_files


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
        self._names |= referenced_files(new)
        return self._names


def named(queue: Any) -> set[str]:
    """Return the names in the prompts and the history of a queue, see :func:`referenced_files`."""
    result: set[str] = set()
    with queue.mutex:
        ids = dict.fromkeys(queue.history)
    for id in ids:  # thousands, read from disk: without the mutex, so that prompts are accepted
        with queue.mutex:
            entry = queue.history.get(id)
        result |= referenced_files([entry])
    with queue.mutex:  # last: prompts may have been accepted, and others have ended meanwhile
        new = [queue.history[id] for id in queue.history if id not in ids]
        return result | referenced_files([*queue.queue, *queue.currently_running.values(), *new])


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

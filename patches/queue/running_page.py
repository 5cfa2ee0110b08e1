"""``queue.running``, which earlier versions kept beside the database.

It held which prompts ran and how prompts had ended that were not in the database yet. A new version
reads it once and deletes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

PAGE = 4096


@dataclass
class RunningPage:
    """What the file says.

    Attributes:
        ids: prompts that ran when the process ended, once for each such process.
        ended: when a prompt ended and its result as JSON, by id.
    """

    ids: list[str] = field(default_factory=list)
    ended: dict[str, tuple[float, str]] = field(default_factory=dict)


def read_running_page(path: Path) -> RunningPage:
    """Read the file; a missing or damaged one (after a power cut) is empty.

    The first line is the ids, as JSON. Then come two lines for each end, down to an empty line:
    the id with the time, and the result.
    """
    if not path.exists():
        return RunningPage()
    with path.open("rb") as file:
        text, empty, _ = file.read(PAGE).partition(b"\n\n")
    lines = text.split(b"\n") if empty else text.split(b"\n")[:1]  # an old file has one line
    try:
        ids = json.loads(lines[0])
        ended = {}
        for head, result in zip(lines[1::2], lines[2::2], strict=True):
            id, when = json.loads(head)
            ended[id] = (float(when), result.decode())
    except (ValueError, TypeError, RecursionError):
        return RunningPage()
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in (*ids, *ended)):
        return RunningPage()
    return RunningPage(ids, ended)

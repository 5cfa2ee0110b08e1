"""``queue.running``, which earlier versions kept beside the database.

It held which prompts ran and how prompts had ended that were not in the database yet. A new version
reads it once and deletes it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

PAGE = 4096
END = "UPDATE prompts SET state = 'ended', result = ?, ended = ? WHERE id = ? AND state != 'ended'"
RUN = "UPDATE prompts SET state = 'running', deaths = deaths + ? WHERE id = ? AND state = 'waiting'"


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


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Move the file into the rows of the database, then delete it.

    A prompt that ran gets the state ``running``, so that its crash counts when it is queued again.
    """
    page = read_running_page(path)
    if page.ids or page.ended:
        ended = [(result, when, id) for id, (when, result) in page.ended.items()]
        crashed = [(count - 1, id) for id, count in Counter(page.ids).items()]
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(END, ended)
            connection.executemany(RUN, crashed)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite ends it itself when the disk is full
                connection.execute("ROLLBACK")
            raise
        connection.execute("PRAGMA wal_checkpoint")  # durable before the file is deleted
    path.unlink(missing_ok=True)

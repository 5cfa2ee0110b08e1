"""``queue.running``, which earlier versions kept beside the database.

It holds which prompts ran, and how prompts ended that were not in the database yet. A new version
reads it once and deletes it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

PAGE = 4096
END = "UPDATE prompts SET state = 'ended', result = ?, ended = ? WHERE id = ? AND state != 'ended'"
RUN = "UPDATE prompts SET state = 'running', deaths = deaths + ? WHERE id = ? AND state = 'waiting'"


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Move the file into the rows of the database, then delete it.

    A prompt that ran gets the state ``running``, so that its crash counts when it is queued again.
    """
    if not path.exists():
        return
    crashed, ended = _read(path)
    if crashed or ended:
        with connection:  # one transaction
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(END, ended)
            connection.executemany(RUN, crashed)
        connection.execute("PRAGMA wal_checkpoint")  # durable before the file is deleted
    path.unlink()


def _read(path: Path) -> tuple[list[tuple[int, str]], list[tuple[str, float, str]]]:
    """Return the values for :data:`RUN` and :data:`END`; none of a damaged file (a power cut).

    The first line has an id for each crash, as JSON. Then come two lines for each end, down to an
    empty line: the id with the time, and the result.
    """
    with path.open("rb") as file:
        text, empty, _ = file.read(PAGE).partition(b"\n\n")
    lines = text.split(b"\n") if empty else text.split(b"\n")[:1]  # an old file has one line
    try:
        ids = json.loads(lines[0])
        heads = [json.loads(head) for head in lines[1::2]]
        results = [result.decode() for result in lines[2::2]]
        ended = [
            (result, float(when), id) for (id, when), result in zip(heads, results, strict=True)
        ]
    except (ValueError, TypeError, RecursionError):
        return [], []
    known = [*(ids if isinstance(ids, list) else [None]), *(id for _, _, id in ended)]
    if not all(isinstance(id, str) for id in known):
        return [], []
    return [(count - 1, id) for id, count in Counter(ids).items()], ended

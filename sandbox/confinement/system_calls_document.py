"""Read the tables of ``system_calls.md``, from which the filter is made."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("system_calls.md")


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        names: of calls that do the same in different forms, or of one value of an argument.
        value: the action, or the argument's value.
        english: the reason.
        chinese: the same in Chinese.
    """

    names: tuple[str, ...]
    value: str
    english: str
    chinese: str


def read(text: str) -> dict[str, tuple[Row, ...]]:
    """Return the lines below each heading.

    Raises:
        ValueError: a line is not complete.
    """
    tables: dict[str, list[Row]] = {}
    rows: list[Row] | None = None
    for line in text.splitlines():
        if line.startswith("## "):
            rows = tables[line[3:]] = []
        elif line.startswith("|") and rows is not None:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) != 4 or not all(cells):
                raise ValueError(f"{FILE.name}: {line}")
            rows.append(Row(tuple(cells[0].split()), *cells[1:]))
    return {title: tuple(rows[2:]) for title, rows in tables.items()}  # without the header


TABLES = read(FILE.read_text(encoding="utf-8"))
"""Read on import: a confined process cannot read the file."""


def values(title: str) -> tuple[int, ...]:
    """Return the numbers in a table of arguments."""
    return tuple(int(row.value, 0) for row in TABLES[title])

"""The tables of ``calls.md``: what the filter is made of is what it is explained by."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("calls.md")


class Row(NamedTuple):
    """One line.

    Attributes:
        names: of calls that differ only in form, or of one argument.
        value: the answer, or the argument's number.
        english: why.
        chinese: the same.
    """

    names: tuple[str, ...]
    value: str
    english: str
    chinese: str


def read(text: str) -> dict[str, tuple[Row, ...]]:
    """The lines below each heading.

    Raises:
        ValueError: a line is not complete.
    """
    found: dict[str, list[Row]] = {}
    lines: list[Row] | None = None
    for line in text.splitlines():
        if line.startswith("## "):
            lines = found[line[3:]] = []
        elif line.startswith("|") and lines is not None:
            cells = [one.strip() for one in line.strip("|").split("|")]
            if len(cells) != 4 or not all(cells):
                raise ValueError(f"{FILE.name}: {line}")
            lines.append(Row(tuple(cells[0].split()), *cells[1:]))
    return {title: tuple(rows[2:]) for title, rows in found.items()}  # without the head


TABLES = read(FILE.read_text(encoding="utf-8"))
"""Read with this module: a confined process could not."""


def values(title: str) -> tuple[int, ...]:
    """The numbers in a table of arguments."""
    return tuple(int(row.value, 0) for row in TABLES[title])

"""Findings as a compiler tells them: what, where, the line of the file, what to do."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable
from functools import partial
from typing import IO

from ..config import Settings
from ..validator.findings import Finding

WIDTH = 100
"""Columns of a line of the file that are shown; workflows are often one long line."""
BEFORE = 30
"""Of these, before the place where a line had to be cut."""
COLOURS = {"error": "1;31", "warning": "1;33", "place": "1;34", "help": "1;32"}
Paint = Callable[[str, str], str]
"""Gives a text the colour of that name."""


def painter(stream: IO[str], settings: Settings) -> Paint:
    """Colours for a terminal, none for anything else."""
    return partial(_paint, settings.color and stream.isatty())


def _paint(on: bool, name: str, text: str) -> str:
    return f"\x1b[{COLOURS[name]}m{text}\x1b[0m" if on else text


def tell(file: str, data: bytes, findings: Iterable[Finding], paint: Paint) -> list[str]:
    """The lines of all findings about a file that holds ``data``."""
    rows = data.decode("utf-8-sig", "replace").split("\n")
    return [line for finding in findings for line in _tell_one(file, rows, finding, paint)]


def _tell_one(file: str, rows: list[str], finding: Finding, paint: Paint) -> list[str]:
    head = paint(finding.severity, f"{finding.severity}[{finding.code}]")
    place = [file if finding.line is None else f"{file}:{finding.line}:{finding.column}"]
    if finding.node:
        title = json.dumps(finding.title, ensure_ascii=False)
        place.append(f"节点 node {finding.node} {title}")
    if finding.input:
        place.append(finding.input)
    margin = len(str(finding.line or "")) + 1
    sign = " " * margin + paint("place", "=")
    lines = [
        f"{head}: {finding.chinese.removesuffix(finding.chinese_help)}",
        f"{' ' * margin}{paint('place', '-->')} {' · '.join(place)}",
        *_source(rows, finding, margin, paint),
        f"{sign} {finding.english.removesuffix(finding.english_help).strip()}",
    ]
    for name, text in (("建议", finding.chinese_help), ("help", finding.english_help)):
        if text:
            lines.append(f"{sign} {paint('help', name)}: {text}")
    return [*lines, ""]


def _source(rows: list[str], finding: Finding, margin: int, paint: Paint) -> list[str]:
    """The line of the file, and marks under what it is about."""
    if finding.line is None or finding.column is None or finding.line > len(rows):
        return []
    text = rows[finding.line - 1].removesuffix("\r")
    shown, before, marks = excerpt(text, finding.column, finding.length)
    bar = paint("place", "|")
    return [
        f"{' ' * margin} {bar}",
        f"{paint('place', str(finding.line).rjust(margin))} {bar} {shown}",
        f"{' ' * margin} {bar} {' ' * before}{paint(finding.severity, '^' * marks)}",
    ]


def excerpt(text: str, column: int, length: int) -> tuple[str, int, int]:
    """A line or the part of it around a place, columns before the marks, and how many marks.

    Args:
        column: of the place, from 1, in characters; may be one past the end.
    """
    cut = max(0, column - 1 - WIDTH)  # more of it cannot be shown
    start = column - 1 - cut
    text, after = text[cut : column + WIDTH], text[column + WIDTH : column + WIDTH + 1]
    text = "".join(c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in text)
    begin = stop = start
    while stop < len(text) and _columns(text[start : stop + 1]) <= WIDTH - BEFORE:
        stop += 1
    while begin > 0 and _columns(text[begin - 1 : stop]) <= WIDTH:
        begin -= 1
    while stop < len(text) and _columns(text[begin : stop + 1]) <= WIDTH:
        stop += 1
    left, right = "…" * (cut + begin > 0), "…" * bool(after or stop < len(text))
    before = len(left) + _columns(text[begin:start])
    marks = _columns(text[start : min(start + length, stop)])
    return left + text[begin:stop] + right, before, max(1, marks)


def _columns(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )

"""Findings as a compiler prints them: what, where, the line of the file, and what to do."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable
from functools import partial
from typing import IO

from ..config import Settings
from ..validator.findings import Finding

WIDTH = 100
"""Columns of a line of the file that are shown. Workflows are often one long line."""
_COLUMNS_BEFORE = 30
"""Columns before the place that are shown of a longer line."""
_COLOURS = {"error": "1;31", "warning": "1;33", "place": "1;34", "help": "1;32"}
Paint = Callable[[str, str], str]
"""A function that gives a text the colour of that name."""


def painter(stream: IO[str], settings: Settings) -> Paint:
    """Return a function that colours text for a terminal, and leaves it plain elsewhere."""
    return partial(_paint, settings.color and stream.isatty())


def _paint(enabled: bool, name: str, text: str) -> str:
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if enabled else text


def format_findings(file: str, data: bytes, findings: Iterable[Finding], paint: Paint) -> list[str]:
    """Return the lines to print for all findings about a file that holds ``data``."""
    rows = data.decode("utf-8-sig", "replace").split("\n")
    return [line for finding in findings for line in _format_finding(file, rows, finding, paint)]


def _format_finding(file: str, rows: list[str], finding: Finding, paint: Paint) -> list[str]:
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
        *_format_source(rows, finding, margin, paint),
        f"{sign} {finding.english.removesuffix(finding.english_help).strip()}",
    ]
    for name, text in (("建议", finding.chinese_help), ("help", finding.english_help)):
        if text:
            lines.append(f"{sign} {paint('help', name)}: {text}")
    return [*lines, ""]


def _format_source(rows: list[str], finding: Finding, margin: int, paint: Paint) -> list[str]:
    """Return the line of the file, and a line of marks under the place."""
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
    """Return a line, or the part around a place, for a terminal.

    Args:
        text: The line.
        column: The column of the place in characters, from 1. It can be one past the end.
        length: The characters of the place.

    Returns:
        The text to show, the columns before the marks, and the number of marks.
    """
    cut = max(0, column - 1 - WIDTH)  # earlier characters cannot be visible
    start = column - 1 - cut
    text, rest = text[cut : column + WIDTH], text[column + WIDTH : column + WIDTH + 1]
    text = "".join(c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in text)
    first, end = _visible_range(text, start)
    prefix = "…" if cut + first > 0 else ""
    suffix = "…" if rest or end < len(text) else ""
    before = len(prefix) + _columns(text[first:start])
    marks = _columns(text[start : min(start + length, end)])
    return prefix + text[first:end] + suffix, before, max(1, marks)


def _visible_range(text: str, start: int) -> tuple[int, int]:
    """Return the part of a line that is shown around ``start``: at most :data:`WIDTH` columns."""
    first = end = start
    while end < len(text) and _columns(text[start : end + 1]) <= WIDTH - _COLUMNS_BEFORE:
        end += 1
    while first > 0 and _columns(text[first - 1 : end]) <= WIDTH:
        first -= 1
    while end < len(text) and _columns(text[first : end + 1]) <= WIDTH:
        end += 1
    return first, end


def _columns(text: str) -> int:
    """Return the columns of a text on a terminal. Chinese characters take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )

"""Whether a path may match a route, without running a pack's regular expressions.

A pack's expression could take forever on a path from an attacker. So literal text is compared,
``{name}`` matches text without ``/``, and from ``{name:…}`` on everything matches: the pack's own
router, in its process, decides.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

VARIABLE = re.compile(r"\{[_a-zA-Z][_a-zA-Z0-9]*(:?)")
LONGEST = 1000
"""Characters of a path that a pack may register."""


def claims(pattern: str, path: str) -> bool:
    """Return whether a route with this pattern may match a path, which is percent-encoded."""
    literal, open_end = _literal(pattern)
    expected = literal.split("/")
    segments = [unquote(segment) for segment in path.split("/")]
    if open_end:
        *folders, last = expected
        rest = "/".join(segments[len(folders) :])
        begins = _fits(last.split("\0"), rest, open_end=True)
        return begins and len(segments) > len(folders) and _all_fit(folders, segments)
    return len(expected) == len(segments) and _all_fit(expected, segments)


def _literal(pattern: str) -> tuple[str, bool]:
    """Return the pattern with NUL for each variable, and whether an expression ends it early."""
    literal = ""
    at = 0
    for variable in VARIABLE.finditer(pattern):
        if variable.start() < at:
            continue  # a brace inside of a variable
        literal += unquote(pattern[at : variable.start()])
        if variable.group(1):
            return literal, True
        literal += "\0"
        at = variable.end() + 1
    return literal + unquote(pattern[at:]), False


def _all_fit(expected: list[str], segments: list[str]) -> bool:
    pairs = zip(expected, segments, strict=False)
    return all(_fits(segment.split("\0"), text, open_end=False) for segment, text in pairs)


def _fits(pieces: list[str], text: str, open_end: bool) -> bool:
    """Return whether a text has the pieces in this order, with text for each variable between."""
    first, *middle = pieces
    if not text.startswith(first):
        return False
    at = len(first)
    last = "" if open_end or not middle else middle.pop()
    for piece in middle:
        at = text.find(piece, at + 1)
        if at < 0:
            return False
        at += len(piece)
    if open_end:
        return True
    if len(pieces) == 1:
        return text == first
    return text.endswith(last) and len(text) - len(last) > at

"""Whether a path may belong to a route, judged without running a pack's regular expressions.

A pack's expression could take for ever on a path that somebody makes up. So literal text is
compared, ``{name}`` stands for text without ``/``, and from ``{name:…}`` on everything fits: the
pack's own router, in its process, has the last word.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

VARIABLE = re.compile(r"\{[_a-zA-Z][_a-zA-Z0-9]*(:?)")
LONGEST = 1000
"""Characters of a path that a pack may register."""


def claims(pattern: str, path: str) -> bool:
    """Whether a route with this pattern may be meant by a path, as it stands in an address."""
    literal, open_end = _known(pattern)
    wanted, found = literal.split("/"), [unquote(one) for one in path.split("/")]
    if open_end:
        *folders, last = wanted
        rest = "/".join(found[len(folders) :])
        begins = _fits(last.split("\0"), rest, open_end=True)
        return begins and len(found) > len(folders) and _all(folders, found)
    return len(wanted) == len(found) and _all(wanted, found)


def _known(pattern: str) -> tuple[str, bool]:
    """The pattern with NUL for each variable, up to the first expression, if there is one."""
    known, at = "", 0
    for variable in VARIABLE.finditer(pattern):
        if variable.start() < at:
            continue  # a brace inside
        known += unquote(pattern[at : variable.start()])
        if variable.group(1):
            return known, True
        known += "\0"
        at = variable.end() + 1
    return known + unquote(pattern[at:]), False


def _all(wanted: list[str], found: list[str]) -> bool:
    pairs = zip(wanted, found, strict=False)
    return all(_fits(one.split("\0"), text, open_end=False) for one, text in pairs)


def _fits(pieces: list[str], text: str, open_end: bool) -> bool:
    """Whether the pieces stand in a text in this order, each variable between them not empty."""
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

"""Prompt texts as the page sends them: dynamic prompts decided, comments gone."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"/\*|//")
_LINE_COMMENT = re.compile("//")
_LINE_END = re.compile("[\n\r\u2028\u2029]")


def first_choice(text: str) -> str:
    """A dynamic prompt without comments, every ``{a|b}`` decided for its first word.

    The page decides by chance; the first is one of its possible answers.
    """
    kept: list[str] = []
    chosen: list[bool] = []  # for every open brace: is this still its first word?
    text = _without_comments(text)
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\\" and position < len(text):
            escaped = text[position]
            position += 1
            character = escaped if escaped in "{}|" else character + escaped
        elif character == "{":
            chosen.append(not chosen or chosen[-1])
            continue
        elif character == "}" and chosen:
            chosen.pop()
            continue
        elif character == "|" and chosen:
            chosen[-1] = False
            continue
        if not chosen or chosen[-1]:
            kept.append(character)
    return "".join(kept)


def _without_comments(text: str) -> str:
    """Without ``/* … */`` and ``// …`` up to the end of the line."""
    kept: list[str] = []
    position = start = 0
    opening = _COMMENT
    while mark := opening.search(text, start):
        if mark[0] == "//":
            end = _LINE_END.search(text, mark.end())
            after = end.start() if end else len(text)
        else:
            after = text.find("*/", mark.end()) + 2
            if after < 2:  # never closed, and no later one can be: text like any other
                opening, start = _LINE_COMMENT, mark.start() + 1
                continue
        kept.append(text[position : mark.start()])
        position = start = after
    return "".join(kept) + text[position:]

"""Prompt texts as the page sends them: one choice of dynamic prompts, without comments."""

from __future__ import annotations

import re

_COMMENT = re.compile(r"/\*|//")
_LINE_COMMENT = re.compile("//")
_LINE_END = re.compile("[\n\r\u2028\u2029]")


def first_choice(text: str) -> str:
    """Return a dynamic prompt without comments, with the first option of every ``{a|b}``.

    The page chooses at random. The first option is one of its possible results.
    """
    output: list[str] = []
    in_first_option: list[bool] = []  # one item for every open brace
    text = _without_comments(text)
    position = 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == "\\" and position < len(text):
            escaped = text[position]
            position += 1
            character = escaped if escaped in "{}|" else character + escaped
        elif character == "{" or (in_first_option and character in "}|"):
            _enter_or_leave(character, in_first_option)
            continue
        if not in_first_option or in_first_option[-1]:
            output.append(character)
    return "".join(output)


def _enter_or_leave(character: str, in_first_option: list[bool]) -> None:
    """Update the stack of open braces for one of ``{``, ``|`` and ``}``."""
    if character == "{":
        in_first_option.append(not in_first_option or in_first_option[-1])
    elif character == "}":
        in_first_option.pop()
    else:
        in_first_option[-1] = False


def _without_comments(text: str) -> str:
    """Return a text without ``/* … */`` and without ``// …`` up to the end of the line."""
    output: list[str] = []
    position = start = 0
    opening = _COMMENT
    while mark := opening.search(text, start):
        if mark[0] == "//":
            line_end = _LINE_END.search(text, mark.end())
            end = line_end.start() if line_end else len(text)
        else:
            end = text.find("*/", mark.end()) + 2
            if end < 2:  # never closed, as are all later ones, so it is ordinary text
                opening, start = _LINE_COMMENT, mark.start() + 1
                continue
        output.append(text[position : mark.start()])
        position = start = end
    return "".join(output) + text[position:]

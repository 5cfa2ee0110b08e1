"""What is wrong with a workflow: coded, with the place, in Chinese and English."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import CATALOGUE, ZImageError

LIMIT = 1000
"""Findings kept of one file; a hostile one could have millions."""
TEXT, WHOLE = 120, 400
"""Characters of a value that a finding repeats; more of what is of no use when it is cut."""
SIMILAR = "是否想写“{}”？", 'Did you mean "{}"?'
SOURCE = "可从此处下载：{}", "It can be downloaded from {}"
More = tuple[tuple[str, str], str]
"""What may follow the text of a finding, in both languages, and its value."""
_HELP = re.compile("。(.+)", re.DOTALL), re.compile(r"[.] ([A-Z{].*)", re.DOTALL)
"""What to do, in texts of the catalogue: all sentences but the first."""
_WHOLE = ("url", "path", "folder", "ring", "zh", "en")


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: a key of the error catalogue.
        severity: ``error`` (the server would refuse it or fail) or ``warning``.
        node: id of the node, ``12`` or ``12:3`` inside a subgraph; empty for the whole file.
        title: what the page shows as the node's name.
        input: name of the input, if it is about one.
        chinese, english: what was found, what was expected, what to do.
        chinese_help, english_help: how those end: what to do; may be empty.
        line, column: where in the file, from 1, in characters; None where that is not known.
        length: characters there that it is about.
    """

    code: str
    severity: str
    node: str
    title: str
    input: str
    chinese: str
    english: str
    chinese_help: str = ""
    english_help: str = ""
    line: int | None = None
    column: int | None = None
    length: int = 1


class Findings(list[Finding]):
    """A list of findings, in order: the first :data:`LIMIT`, and one that says there are more."""

    def add(
        self, code: str, node: str = "", title: str = "", input: str = "",
        severity: str = "error", similar: str = "", source: str = "", **values: object,
    ) -> None:  # fmt: skip
        """Append one; ``values`` fill the catalogue's text and are shortened.

        Args:
            similar: what was probably meant, which is asked at the end.
            source: the address where what is missing can be had.
        """
        more = [(SIMILAR, _short(similar))] * bool(similar)
        more += [(SOURCE, _short(source, WHOLE))] * bool(source)
        self._keep(code, node, title, input, severity, values, more)

    def refuse(
        self, error: ZImageError, node: str = "", title: str = "", input: str = "",
        severity: str = "error",
    ) -> None:  # fmt: skip
        """Append an error that something else would raise, by its code and in its words."""
        self._keep(error.code, node, title, input, severity, error.found)

    def _keep(self, code: str, node: str, title: str, input: str, severity: str,
              values: Mapping[str, Any], more: Iterable[More] = ()) -> None:  # fmt: skip
        if len(self) < LIMIT:
            self.append(_finding(code, node, title, input, severity, values, more))
            return
        if not self.full:
            self.append(_finding("ZI-WF-MORE", "", "", "", "warning", {"value": LIMIT}))
        if severity == "error":  # an error that is not told is still one
            self[-1] = replace(self[-1], severity="error")

    def place(self, line: int | None, column: int | None) -> None:
        """Where in the file the last one is."""
        self[-1] = replace(self[-1], line=line, column=column)

    @property
    def full(self) -> bool:
        """True when no more are kept."""
        return len(self) > LIMIT

    @property
    def errors(self) -> list[Finding]:
        """Those that would stop the workflow."""
        return [finding for finding in self if finding.severity == "error"]


def _finding(
    code: str, node: str, title: str, input: str, severity: str, values: Mapping[str, Any],
    more: Iterable[More] = (),
) -> Finding:  # fmt: skip
    short = {k: _short(value, WHOLE if k in _WHOLE else TEXT) for k, value in values.items()}
    node, title, input = _short(node), _short(title), _short(input)
    filled = {"title": title or node, "input": input, **short}
    zh, en = (text.format(**filled) for text in CATALOGUE[code])
    zh_help, en_help = (_help(n, text).format(**filled) for n, text in enumerate(CATALOGUE[code]))
    for texts, value in more:
        zh_more, en_more = (text.format(value) for text in texts)
        zh, zh_help = zh + zh_more, zh_help + zh_more
        en, en_help = f"{en} {en_more}", f"{en_help} {en_more}".strip()
    return Finding(code, severity, node, title, input, zh, en, zh_help, en_help)


def _help(language: int, text: str) -> str:
    found = _HELP[language].search(text)
    return found[1] or "" if found else ""


def _short(value: object, most: int = TEXT) -> str:
    """At most ``most`` characters, without what a terminal or a log would act on."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = "".join(c if c.isprintable() else "�" for c in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"

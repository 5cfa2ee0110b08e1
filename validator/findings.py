"""Findings about a workflow: a code, a place, and texts in Chinese and English."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ..errors import CATALOGUE, ZImageError
from ..errors.bilingual import Bilingual

Severity: TypeAlias = Literal["error", "warning"]
Question: TypeAlias = tuple[Bilingual, str]
"""A template that is appended to the text of a finding, and its value."""

LIMIT = 1000
"""Maximum number of findings for one file; a hostile file could cause millions."""
VALUE_LENGTH = 120
"""Maximum number of characters of a value that a finding repeats."""
LONG_VALUE_LENGTH = 400
"""The same for values that are useless when they are cut, such as addresses."""
_LONG_VALUES = ("url", "path", "folder", "ring")
_SUGGESTION = Bilingual("是否想写“{value}”？", 'Did you mean "{value}"?')
_DOWNLOAD = Bilingual("可从此处下载：{value}", "It can be downloaded from {value}")
_CHINESE_HELP = re.compile("。(.+)", re.DOTALL)
_ENGLISH_HELP = re.compile(r"[.] ([A-Z{].*)", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        code: A key of the error catalogue.
        severity: ``error`` (the server refuses the workflow, or it fails) or ``warning``.
        node: The node id, ``12``, or ``12:3`` inside a subgraph. Empty for the whole file.
        title: The name of the node in the page.
        input: The name of the input, if the finding is about one.
        chinese: What was found, what was expected and what to do, in Chinese.
        english: The same in English.
        chinese_help: The end of ``chinese`` that says what to do. Can be empty.
        english_help: The same in English.
        line: The line in the file, from 1. None if it is not known.
        column: The column in characters, from 1. None if it is not known.
        length: The number of characters from there that the finding is about.
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
    """The findings about one file in order: at most :data:`LIMIT`, then one that says so."""

    def add(
        self,
        code: str,
        node: str = "",
        title: str = "",
        input: str = "",
        severity: Severity = "error",
        similar: str = "",
        source: str = "",
        **values: object,
    ) -> None:
        """Append a finding.

        Args:
            code: A key of the error catalogue.
            node: The node id.
            title: The name of the node in the page.
            input: The name of the input.
            severity: ``error`` or ``warning``.
            similar: The name that was probably meant. The text ends with a question for it.
            source: The address to download the missing file from.
            **values: Values for the catalogue text. Long ones are shortened. A
                :class:`.Bilingual` gives each text its own language.
        """
        questions: list[Question] = []
        if similar:
            questions.append((_SUGGESTION, _shorten(similar)))
        if source:
            questions.append((_DOWNLOAD, _shorten(source, LONG_VALUE_LENGTH)))
        self._append(Finding(code, severity, node, title, input, "", ""), values, questions)

    def add_error(
        self,
        error: ZImageError,
        node: str = "",
        title: str = "",
        input: str = "",
        severity: Severity = "error",
    ) -> None:
        """Append an error that another part raises, with its code and its text."""
        self._append(Finding(error.code, severity, node, title, input, "", ""), error.found)

    def locate_last(self, line: int | None, column: int | None) -> None:
        """Set the place of the last finding in the file."""
        self[-1] = replace(self[-1], line=line, column=column)

    @property
    def full(self) -> bool:
        """Whether further findings are dropped."""
        return len(self) > LIMIT

    @property
    def errors(self) -> list[Finding]:
        """The findings that stop the workflow."""
        return [finding for finding in self if finding.severity == "error"]

    def _append(
        self, finding: Finding, values: Mapping[str, object], questions: Sequence[Question] = ()
    ) -> None:
        if len(self) < LIMIT:
            self.append(_with_texts(finding, values, questions))
            return
        if not self.full:
            last = Finding("ZI-WF-MORE", "warning", "", "", "", "", "")
            self.append(_with_texts(last, {"value": LIMIT}))
        if finding.severity == "error":  # a dropped error still fails the file
            self[-1] = replace(self[-1], severity="error")


def _with_texts(
    finding: Finding, values: Mapping[str, object], questions: Sequence[Question] = ()
) -> Finding:
    """Return a finding with its texts from the catalogue."""
    node, title, input = (_shorten(text) for text in (finding.node, finding.title, finding.input))
    fields: dict[str, object] = {"title": title or node, "input": input}
    fields |= {key: _shorten_value(key, value) for key, value in values.items()}
    text = CATALOGUE[finding.code]
    full, help = text.format(**fields), _help_part(text).format(**fields)
    for question, value in questions:
        asked = question.format(value=value)
        full = Bilingual(full.chinese + asked.chinese, f"{full.english} {asked.english}")
        help = Bilingual(help.chinese + asked.chinese, f"{help.english} {asked.english}".strip())
    return replace(
        finding,
        node=node,
        title=title,
        input=input,
        chinese=full.chinese,
        english=full.english,
        chinese_help=help.chinese,
        english_help=help.english,
    )


def _help_part(text: Bilingual) -> Bilingual:
    """Return what to do: every sentence of a catalogue text except the first."""
    chinese, english = _CHINESE_HELP.search(text.chinese), _ENGLISH_HELP.search(text.english)
    return Bilingual(chinese[1] if chinese else "", english[1] if english else "")


def _shorten_value(name: str, value: object) -> str | Bilingual:
    """Return a value of a catalogue text, shortened; a bilingual one in both languages."""
    if isinstance(value, Bilingual):
        chinese, english = (
            _shorten(text, LONG_VALUE_LENGTH) for text in (value.chinese, value.english)
        )
        return Bilingual(chinese, english)
    return _shorten(value, LONG_VALUE_LENGTH if name in _LONG_VALUES else VALUE_LENGTH)


def _shorten(value: object, limit: int = VALUE_LENGTH) -> str:
    """Return at most ``limit`` characters, without control characters for terminals and logs."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = "".join(c if c.isprintable() else "�" for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 1] + "…"

"""What is wrong with a workflow: coded, with the place, in Chinese and English."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import CATALOGUE, ZImageError

LIMIT = 1000
"""Findings kept of one file; a hostile one could have millions."""
TEXT, WHOLE = 120, 400
"""Characters of a value that a finding repeats; more of what is of no use when it is cut."""
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
    """

    code: str
    severity: str
    node: str
    title: str
    input: str
    chinese: str
    english: str


class Findings(list[Finding]):
    """A list of findings, in order: the first :data:`LIMIT`, and one that says there are more."""

    def add(
        self, code: str, node: str = "", title: str = "", input: str = "",
        severity: str = "error", **values: object,
    ) -> None:  # fmt: skip
        """Append one; ``values`` fill the catalogue's text and are shortened."""
        self._keep(code, node, title, input, severity, values)

    def refuse(
        self, error: ZImageError, node: str = "", title: str = "", input: str = "",
        severity: str = "error",
    ) -> None:  # fmt: skip
        """Append an error that something else would raise, by its code and in its words."""
        self._keep(error.code, node, title, input, severity, error.found)

    def _keep(self, code: str, node: str, title: str, input: str, severity: str,
              values: Mapping[str, Any]) -> None:  # fmt: skip
        if len(self) < LIMIT:
            self.append(_finding(code, node, title, input, severity, values))
            return
        if not self.full:
            self.append(_finding("ZI-WF-MORE", "", "", "", "warning", {"value": LIMIT}))
        if severity == "error":  # an error that is not told is still one
            self[-1] = replace(self[-1], severity="error")

    @property
    def full(self) -> bool:
        """True when no more are kept."""
        return len(self) > LIMIT

    @property
    def errors(self) -> list[Finding]:
        """Those that would stop the workflow."""
        return [finding for finding in self if finding.severity == "error"]


def _finding(
    code: str, node: str, title: str, input: str, severity: str, values: Mapping[str, Any]
) -> Finding:
    short = {k: _short(value, WHOLE if k in _WHOLE else TEXT) for k, value in values.items()}
    node, title, input = _short(node), _short(title), _short(input)
    place = {"title": title or node, "input": input}
    chinese, english = (text.format(**{**place, **short}) for text in CATALOGUE[code])
    return Finding(code, severity, node, title, input, chinese, english)


def _short(value: object, most: int = TEXT) -> str:
    """At most ``most`` characters, without what a terminal or a log would act on."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = "".join(c if c.isprintable() else "�" for c in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"

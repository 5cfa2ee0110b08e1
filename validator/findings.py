"""What is wrong with a workflow: coded, with the place, in Chinese and English."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass

from ..errors import CATALOGUE

LIMIT = 1000
"""Findings kept of one file; a hostile one could have millions."""
TEXT, ADDRESS = 120, 400
"""Characters of a value that a finding repeats; an address is of no use when it is cut."""


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
    """A list of findings, in order."""

    def add(
        self, code: str, node: str = "", title: str = "", input: str = "",
        severity: str = "error", **values: object,
    ) -> None:  # fmt: skip
        """Append one; ``values`` fill the catalogue's text and are shortened."""
        if len(self) >= LIMIT:
            return
        long = {"url": ADDRESS}
        short = {name: _short(value, long.get(name, TEXT)) for name, value in values.items()}
        node, title, input = _short(node), _short(title), _short(input)
        place = {"title": title or node, "input": input}
        chinese, english = (text.format(**place, **short) for text in CATALOGUE[code])
        self.append(Finding(code, severity, node, title, input, chinese, english))

    @property
    def errors(self) -> list[Finding]:
        """Those that would stop the workflow."""
        return [finding for finding in self if finding.severity == "error"]


def _short(value: object, most: int = TEXT) -> str:
    """At most ``most`` characters, without what a terminal or a log would act on."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = "".join(c if c.isprintable() else "�" for c in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"

"""Where in a file a finding is: line, column and length, found by going down to its node."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from .findings import Finding
from .inputs import Input, table
from .knowledge import Knowledge

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
LARGEST = 8 * 2**20
"""Bytes of files in which places are looked for; every node is read a few times."""
_CLASS = frozenset({"ZI-WF-CLASS", "ZI-WF-NODE-UNKNOWN", "ZI-WF-FOREIGN"})
"""What is said of a node's class, not of the node."""


@dataclass(frozen=True)
class Item:
    """A member of an object or a list: its key, its value, and where they stand in the text."""

    key: str | int
    value: Any
    start: int
    at: int
    end: int


class Places:
    """Finds places in a text that has been read as JSON before."""

    def __init__(self, text: str, knowledge: Knowledge) -> None:
        self.text, self.knowledge = text, knowledge
        self._lines = [0, *(mark.end() for mark in re.finditer("\n", text))]
        self._items: dict[int, list[Item]] = {}
        self._named: dict[int, dict[str | int, Item]] = {}
        self._nodes: dict[int, dict[str, Item]] = {}
        self._root = _after_space(text, 0)

    def find(self, finding: Finding) -> Finding:
        """The same finding with its place, if it has one."""
        found = self._span(finding) if finding.line is None and finding.node else None
        if found is None:
            return finding
        start, end = found
        line = bisect_right(self._lines, start)
        broken = self.text.find("\n", start, end)
        length = (end if broken < 0 else broken) - start
        return replace(finding, line=line, column=start - self._lines[line - 1] + 1, length=length)

    def _span(self, finding: Finding) -> tuple[int, int] | None:
        nodes = self._member(self._root, "nodes")
        if nodes is not None and isinstance(nodes.value, list):
            node = self._page_node(nodes, finding.node)
            return self._in_page_node(node, finding) if node else None
        inner = self._member(self._root, "prompt")
        root = inner.at if inner is not None and isinstance(inner.value, dict) else self._root
        node = self._member(root, finding.node)
        return self._in_node(node, finding) if node else None

    # --- API form -----------------------------------------------------------------------------

    def _in_node(self, node: Item, finding: Finding) -> tuple[int, int]:
        if finding.code in _CLASS and (kind := self._member(node.at, "class_type")):
            return kind.start, kind.end
        inputs = self._member(node.at, "inputs")
        if inputs is not None and (given := self._member(inputs.at, finding.input)):
            return given.start, given.end
        return node.start, _DECODER.raw_decode(self.text, node.start)[1]

    # --- what the page saves ------------------------------------------------------------------

    def _page_node(self, nodes: Item, number: str) -> Item | None:
        """A node by its id, ``5:6:1`` inside subgraphs."""
        if nodes.at not in self._nodes:  # of equal ids the first one counts
            rows = self._list(nodes.at)[::-1]
            self._nodes[nodes.at] = {str(table(row.value).get("id")): row for row in rows}
        found = self._nodes[nodes.at].get(number)
        if found is not None:
            return found
        head, _, rest = number.partition(":")
        outer = self._page_node(nodes, head) if rest else None
        inner = self._subgraph(table(outer.value).get("type")) if outer else None
        return self._page_node(inner, rest) if inner else None

    def _subgraph(self, kind: object) -> Item | None:
        """The nodes of a subgraph."""
        definitions = self._member(self._root, "definitions")
        graphs = self._member(definitions.at, "subgraphs") if definitions else None
        for graph in self._list(graphs.at) if graphs else ():
            if table(graph.value).get("id") == kind:
                return self._member(graph.at, "nodes")
        return None

    def _in_page_node(self, node: Item, finding: Finding) -> tuple[int, int]:
        found = self._class(node, finding) or self._slot(node, finding.input, linked=True)
        found = found or self._widget(node, finding.input)
        found = found or self._slot(node, finding.input) or self._member(node.at, "id")
        return (found.start, found.end) if found else (node.start, node.start + 1)

    def _class(self, node: Item, finding: Finding) -> Item | None:
        return self._member(node.at, "type") if finding.code in _CLASS else None

    def _slot(self, node: Item, name: str, linked: bool = False) -> Item | None:
        """The name of an input in the list of those that can be linked."""
        inputs = self._member(node.at, "inputs") if name else None
        for slot in self._list(inputs.at) if inputs else ():
            found = table(slot.value)
            if found.get("name") == name and (not linked or found.get("link") is not None):
                return self._member(slot.at, "name")
        return None

    def _widget(self, node: Item, name: str) -> Item | None:
        """A field's value; not where values of the file and fields of the class do not agree."""
        values = self._member(node.at, "widgets_values") if name else None
        if values is None or isinstance(values.value, dict):
            return self._member(values.at, name) if values else None
        kind = self.knowledge.get(node.value.get("type"))
        rows = self._list(values.at)

        def held(number: int, widget: Input) -> Any:
            return rows[number].value if number < len(rows) else widget.default()

        names = [widget.name if widget else "" for widget in kind.fields(held)] if kind else []
        return rows[names.index(name)] if name in names and len(rows) == len(names) else None

    # --- going through the text ---------------------------------------------------------------

    def _member(self, start: int, key: str) -> Item | None:
        """The member of an object; the last one of equal names, which is the one that counts."""
        if start not in self._named:
            self._named[start] = {item.key: item for item in self._list(start)}
        return self._named[start].get(key)

    def _list(self, start: int) -> list[Item]:
        if start not in self._items:
            self._items[start] = list(_items(self.text, start))
        return self._items[start]


def locate(data: bytes, findings: Iterable[Finding], knowledge: Knowledge) -> list[Finding]:
    """Findings about a file with their places in it, as far as they can be found."""
    findings = list(findings)
    if len(data) > LARGEST or not any(f.node and f.line is None for f in findings):
        return findings
    try:
        places = Places(data.decode("utf-8-sig", "replace"), knowledge)
        return [places.find(finding) for finding in findings]
    except RecursionError:  # nested as deeply as can just be read
        return findings


def _items(text: str, start: int) -> Iterator[Item]:
    """The members of the object or list that begins at ``start``; nothing of anything else."""
    opening = text[start : start + 1]
    if opening not in ("{", "["):
        return
    position, number = _after_space(text, start + 1), 0
    while text[position] not in "}]":
        key, begin = number, position
        if opening == "{":
            key, position = _DECODER.raw_decode(text, position)
            position = _after_space(text, _after_space(text, position) + 1)  # the colon
        value, end = _DECODER.raw_decode(text, position)
        yield Item(key, value, begin, position, end)
        number, position = number + 1, _after_space(text, end)
        if text[position] == ",":
            position = _after_space(text, position + 1)


def _after_space(text: str, position: int) -> int:
    mark = _SPACE.match(text, position)
    return mark.end() if mark else position

"""Source locations: line, column and length of the JSON that a finding is about."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from .findings import Finding
from .inputs import Input
from .json_values import as_object, is_list, is_object
from .knowledge import Knowledge

MAX_FILE_SIZE = 8 * 2**20
"""Maximum size in bytes of files that are searched. The search reads each node a few times."""
_WHITESPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_CLASS_CODES = frozenset({"ZI-WF-CLASS", "ZI-WF-NODE-UNKNOWN", "ZI-WF-FOREIGN"})
"""Codes of findings about the class of a node: its name is marked, not the node."""
Span: TypeAlias = tuple[int, int]
"""The positions of the first character and of the one after the last."""


@dataclass(frozen=True)
class Member:
    """A member of an object or an array.

    Attributes:
        key: The key in the object, or the index in the array.
        value: The value.
        start: The position of the key in the text. In an array, that of the value.
        value_start: The position of the value.
        end: The position after the value.
    """

    key: str | int
    value: Any
    start: int
    value_start: int
    end: int

    @property
    def span(self) -> Span:
        """The whole member, key included."""
        return self.start, self.end


class SourceLocations:
    """Finds locations in the text of a workflow file.

    Args:
        text: A text that is known to be JSON.
        knowledge: The node classes of the host, for the order of their fields.
    """

    def __init__(self, text: str, knowledge: Knowledge) -> None:
        self._text = text
        self._knowledge = knowledge
        self._line_starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
        self._members: dict[int, list[Member]] = {}
        self._members_by_key: dict[int, dict[str | int, Member]] = {}
        self._nodes_by_id: dict[int, dict[str, Member]] = {}
        self._root = _skip_whitespace(text, 0)

    def find(self, finding: Finding) -> Finding:
        """Return the finding with its location, if it has one."""
        if finding.line is not None or not finding.node:
            return finding
        span = self._span(finding)
        if span is None:
            return finding
        start, end = span
        line = bisect_right(self._line_starts, start)
        first_line = self._text[start:end].partition("\n")[0].removesuffix("\r")
        column = start - self._line_starts[line - 1] + 1
        return replace(finding, line=line, column=column, length=len(first_line))

    def _span(self, finding: Finding) -> Span | None:
        """Return what a finding is about, None if the file has no such node."""
        nodes = self._member(self._root, "nodes")
        if nodes is not None and is_list(nodes.value):
            node = self._page_node(nodes, finding.node)
            return self._span_in_page_node(node, finding) if node else None
        body = self._member(self._root, "prompt")
        is_request = body is not None and is_object(body.value)
        root = body.value_start if body is not None and is_request else self._root
        node = self._member(root, finding.node)
        return self._span_in_api_node(node, finding) if node else None

    # --- API form -----------------------------------------------------------------------------

    def _span_in_api_node(self, node: Member, finding: Finding) -> Span:
        """Return the class or the input that a finding is about, else the key of the node."""
        if finding.code in _CLASS_CODES:
            class_type = self._member(node.value_start, "class_type")
            if class_type is not None:
                return class_type.span
        inputs = self._member(node.value_start, "inputs")
        if inputs is not None:
            value = self._member(inputs.value_start, finding.input)
            if value is not None:
                return value.span
        key_end = _DECODER.raw_decode(self._text, node.start)[1]
        return node.start, key_end

    # --- saved workflows ----------------------------------------------------------------------

    def _page_node(self, nodes: Member, node_id: str) -> Member | None:
        """Return a node by its id, which is ``5:6:1`` inside subgraphs."""
        start = nodes.value_start
        if start not in self._nodes_by_id:  # of equal ids, the first one counts
            members = self._members_at(start)[::-1]
            self._nodes_by_id[start] = {
                str(as_object(member.value).get("id")): member for member in members
            }
        node = self._nodes_by_id[start].get(node_id)
        if node is not None:
            return node
        outer_id, _, inner_id = node_id.partition(":")
        outer = self._page_node(nodes, outer_id) if inner_id else None
        inner_nodes = self._subgraph_nodes(as_object(outer.value).get("type")) if outer else None
        return self._page_node(inner_nodes, inner_id) if inner_nodes else None

    def _subgraph_nodes(self, subgraph_id: object) -> Member | None:
        """Return the member ``nodes`` of the definition of a subgraph."""
        definitions = self._member(self._root, "definitions")
        graphs = self._member(definitions.value_start, "subgraphs") if definitions else None
        for graph in self._members_at(graphs.value_start) if graphs else ():
            if as_object(graph.value).get("id") == subgraph_id:
                return self._member(graph.value_start, "nodes")
        return None

    def _span_in_page_node(self, node: Member, finding: Finding) -> Span:
        """Return the class or the input that a finding is about, else the id of the node.

        An input is its socket if that is linked, else its field, else its socket.
        """
        member = (
            self._class_member(node, finding)
            or self._slot_name(node, finding.input, only_linked=True)
            or self._widget_value(node, finding.input)
            or self._slot_name(node, finding.input)
            or self._member(node.value_start, "id")
        )
        return member.span if member else (node.start, node.start + 1)

    def _class_member(self, node: Member, finding: Finding) -> Member | None:
        if finding.code not in _CLASS_CODES:
            return None
        return self._member(node.value_start, "type")

    def _slot_name(self, node: Member, name: str, only_linked: bool = False) -> Member | None:
        """Return the member ``name`` of an input in the list of the node's sockets."""
        inputs = self._member(node.value_start, "inputs") if name else None
        for slot in self._members_at(inputs.value_start) if inputs else ():
            socket = as_object(slot.value)
            is_linked = socket.get("link") is not None
            if socket.get("name") == name and (is_linked or not only_linked):
                return self._member(slot.value_start, "name")
        return None

    def _widget_value(self, node: Member, name: str) -> Member | None:
        """Return the value of a field.

        An object has it by name. In an array, the order of the fields in the class finds it, if
        there are as many values as fields.
        """
        values = self._member(node.value_start, "widgets_values") if name else None
        if values is None:
            return None
        if is_object(values.value):
            return self._member(values.value_start, name)
        node_class = self._knowledge.get(node.value.get("type"))
        if node_class is None:
            return None
        members = self._members_at(values.value_start)

        def value_of(position: int, widget: Input) -> Any:
            return members[position].value if position < len(members) else widget.default()

        names = [widget.name if widget else "" for widget in node_class.fields(value_of)]
        is_complete = name in names and len(members) == len(names)
        return members[names.index(name)] if is_complete else None

    # --- members ------------------------------------------------------------------------------

    def _member(self, start: int, key: str) -> Member | None:
        """Return a member of an object. Of equal keys, the last one counts."""
        if start not in self._members_by_key:
            self._members_by_key[start] = {member.key: member for member in self._members_at(start)}
        return self._members_by_key[start].get(key)

    def _members_at(self, start: int) -> list[Member]:
        if start not in self._members:
            self._members[start] = list(_read_members(self._text, start))
        return self._members[start]


def locate(data: bytes, findings: Iterable[Finding], knowledge: Knowledge) -> list[Finding]:
    """Return the findings about a file, with a location where one is found.

    Args:
        data: The file.
        findings: Findings of :func:`.check.check_bytes` about it.
        knowledge: The node classes that were used for them.
    """
    findings = list(findings)
    is_needed = any(finding.node and finding.line is None for finding in findings)
    if len(data) > MAX_FILE_SIZE or not is_needed:
        return findings
    try:
        locations = SourceLocations(data.decode("utf-8-sig", "replace"), knowledge)
        return [locations.find(finding) for finding in findings]
    except RecursionError:  # the check could just parse this depth; the stack is higher here
        return findings


def _read_members(text: str, start: int) -> Iterator[Member]:
    """Yield the members of the object or array at ``start``; none for any other value."""
    opening = text[start : start + 1]
    if opening not in ("{", "["):
        return
    position, index = _skip_whitespace(text, start + 1), 0
    while text[position] not in "}]":
        key, member_start = index, position
        if opening == "{":
            key, position = _DECODER.raw_decode(text, position)
            position = _skip_whitespace(text, position) + 1  # after the colon
            position = _skip_whitespace(text, position)
        value, end = _DECODER.raw_decode(text, position)
        yield Member(key, value, member_start, position, end)
        position, index = _skip_whitespace(text, end), index + 1
        if text[position] == ",":
            position = _skip_whitespace(text, position + 1)


def _skip_whitespace(text: str, position: int) -> int:
    match = _WHITESPACE.match(text, position)
    return match.end() if match else position

"""A saved workflow to API form, as the page does it when Run is pressed.

Subgraphs are expanded (``parent:child`` ids), reroutes and bypassed nodes are followed to what
feeds them, muted and page-only nodes are left out, ``widgets_values`` become named inputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .findings import Findings
from .knowledge import Kind, Knowledge
from .workflow import (
    BYPASS,
    NEVER,
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    VIRTUAL,
    Graph,
    Link,
    Node,
    Workflow,
)

Prompt = dict[str, dict[str, Any]]
DEPTH = 64
"""Subgraphs within subgraphs, and links followed through reroutes and bypasses."""
NODES = 50_000
"""Nodes after expansion; subgraphs that use each other can multiply."""

_COMMENT = re.compile(r"/\*|//")
_LINE_COMMENT = re.compile("//")
_LINE_END = re.compile("[\n\r\u2028\u2029]")


@dataclass(frozen=True)
class Value:
    """An input's value that comes from a field, not from a link."""

    value: Any


@dataclass(frozen=True)
class Output:
    """An output of a node that is part of the prompt."""

    node: str
    slot: int


class Place:
    """A graph in the expanded tree: the root, or one use of a subgraph."""

    def __init__(self, graph: Graph, prefix: str = "", parent: Place | None = None,
                 user: Node | None = None) -> None:  # fmt: skip
        self.graph, self.prefix, self.parent, self.user = graph, prefix, parent, user
        self.depth: int = parent.depth + 1 if parent else 0


class Converter:
    """Converts one workflow; findings are collected, nothing is raised."""

    def __init__(self, workflow: Workflow, knowledge: Knowledge, found: Findings) -> None:
        self.workflow, self.knowledge, self.found = workflow, knowledge, found
        self.prompt: Prompt = {}
        self.places: dict[str, Place] = {}
        self.fields: dict[str, dict[str, Any]] = {}

    def run(self) -> Prompt:
        """The prompt; its nodes stand in the order of the file, not of execution."""
        nodes = list(self._expand(Place(self.workflow.root)))
        for place, node in nodes:
            if node.type == "PrimitiveNode":
                self._hand_out(place, node)
        for place, node in nodes:
            if node.mode in (NEVER, BYPASS) or node.type in VIRTUAL:
                continue
            if node.type not in self.workflow.subgraphs:
                self.prompt[place.prefix + node.id] = self._entry(place, node)
        for entry in self.prompt.values():
            self._drop_removed(entry["inputs"])
        return self.prompt

    def _expand(self, place: Place):
        """Every node with the place it stands in; muted and bypassed subgraphs stay closed."""
        self.places[place.prefix] = place
        for node in place.graph.nodes.values():
            if len(self.fields) >= NODES:
                self.found.add("ZI-WF-LARGE", value=NODES)
                return
            self.fields[place.prefix + node.id] = self._values(node)
            yield place, node
            inner = self.workflow.subgraphs.get(node.type)
            if inner is None or node.mode in (NEVER, BYPASS):
                continue
            if place.depth >= DEPTH:
                self.found.add("ZI-WF-CYCLE", place.prefix + node.id, node.title)
                continue
            yield from self._expand(Place(inner, f"{place.prefix}{node.id}:", place, node))

    def _entry(self, place: Place, node: Node) -> dict[str, Any]:
        kind = self.knowledge.get(node.type)
        inputs = {k: _wrap(v) for k, v in self.fields[place.prefix + node.id].items()}
        for number, slot in enumerate(node.inputs):
            found = self._input(place, node, number, 0)
            if isinstance(found, Value):
                inputs[slot.name] = _wrap(found.value)
            elif found is not None:
                inputs[slot.name] = [found.node, found.slot]
        title = node.title if kind is None or node.title != node.type else kind.title
        return {"inputs": inputs, "class_type": node.type, "_meta": {"title": title}}

    def _drop_removed(self, inputs: dict[str, Any]) -> None:
        for name, value in list(inputs.items()):
            if isinstance(value, list) and len(value) == 2 and value[0] not in self.prompt:
                del inputs[name]

    # --- fields ---------------------------------------------------------------------------

    def _values(self, node: Node) -> dict[str, Any]:
        """What a node's fields hold, by name."""
        kind = self.knowledge.get(node.type)
        if kind is None:
            return {}
        widgets = kind.widgets()
        if isinstance(node.values, dict):
            return {w.name: node.values.get(w.name, w.default()) for w in widgets if w}
        saved = _without_forced(kind, node.values)
        values = {}
        for number, widget in enumerate(widgets):
            if widget is not None:
                value = saved[number] if number < len(saved) else widget.default()
                if widget.options.get("dynamicPrompts") and isinstance(value, str):
                    value = first_choice(value)
                values[widget.name] = value
        return values

    def _hand_out(self, place: Place, node: Node) -> None:
        """A primitive node writes its value into the fields it is linked to."""
        if not isinstance(node.values, list) or not node.values:
            return
        for link in place.graph.leaving.get(node.id, ()):
            target = place.graph.nodes.get(link.target)
            if target and 0 <= link.target_slot < len(target.inputs):
                fields = self.fields.get(place.prefix + target.id, {})
                name = target.inputs[link.target_slot].name
                if name in fields:
                    fields[name] = node.values[0]

    def _promoted(self, node: Node, graph: Graph, name: str) -> Value | None:
        """The value that the node of a subgraph holds for one of its inputs."""
        number = (node.proxied or graph.fields).get(name)
        if number is None or not isinstance(node.values, list) or number >= len(node.values):
            return None
        return Value(node.values[number])

    # --- links ----------------------------------------------------------------------------

    def _input(self, place: Place, node: Node, number: int, depth: int) -> Value | Output | None:
        """What feeds an input: an output, a value, or nothing."""
        slot = node.inputs[number]
        link = place.graph.links.get(slot.link) if slot.link is not None else None
        return self._follow(place, link, depth) if link else None

    def _follow(self, place: Place, link: Link, depth: int) -> Value | Output | None:
        if depth > DEPTH:
            self.found.add("ZI-WF-CYCLE", place.prefix + link.target)
            return None
        if link.origin == SUBGRAPH_INPUT:
            return self._from_outside(place, link.origin_slot, depth)
        origin = place.graph.nodes.get(link.origin)
        if origin is None or origin.mode == NEVER:
            return None
        if origin.mode == BYPASS:
            number = _bypass(origin, link)
            return None if number is None else self._input(place, origin, number, depth + 1)
        inner = self.places.get(f"{place.prefix}{origin.id}:")
        if inner is not None:
            return self._from_inside(inner, link.origin_slot, depth)
        if origin.type == "Reroute":
            return self._input(place, origin, 0, depth + 1) if origin.inputs else None
        if origin.type in VIRTUAL:
            return None
        return Output(place.prefix + origin.id, link.origin_slot)

    def _from_outside(self, place: Place, number: int, depth: int) -> Value | Output | None:
        """An input of the subgraph: what is linked to its node outside, or its field there."""
        if place.parent is None or place.user is None or number >= len(place.graph.inputs):
            return None
        name = place.graph.inputs[number]
        linked = place.user.linked.get(name)
        if linked is not None:
            return self._input(place.parent, place.user, linked, depth + 1)
        return self._promoted(place.user, place.graph, name)

    def _from_inside(self, inner: Place, number: int, depth: int) -> Value | Output | None:
        """An output of a subgraph: what is linked to it inside."""
        link = inner.graph.arriving.get((SUBGRAPH_OUTPUT, number))
        return self._follow(inner, link, depth + 1) if link else None


def _without_forced(kind: Kind, saved: list[Any]) -> list[Any]:
    """Files from before an input became a socket still hold a value for it.

    Recognised by their length, as the page does; like there, values are matched to inputs one to
    one, although "control after generate" makes two of one.
    """
    entries = [e for e in kind.inputs.values() if e.is_widget or e.options.get("forceInput")]
    length = sum(
        2 if e.options.get("control_after_generate") or e.name in ("seed", "noise_seed") else 1
        for e in entries
    )
    if length != len(saved):
        return saved
    forced = [bool(entry.options.get("forceInput")) for entry in entries]
    forced += [False] * (length - len(forced))
    return [value for value, drop in zip(saved, forced, strict=True) if not drop]


def _bypass(node: Node, link: Link) -> int | None:
    """Which input a bypassed node passes on: the one in the same slot if its type is the same,
    else the first of that type."""
    slot = link.origin_slot
    kind = node.output_types[slot] if 0 <= slot < len(node.output_types) else link.type
    if 0 <= slot < len(node.inputs) and node.inputs[slot].type == kind:
        return slot
    return node.first_of_type.get(kind)


def _wrap(value: Any) -> Any:
    """A list is a link in API form, so a value that is a list travels in a wrapper."""
    return {"__value__": value} if isinstance(value, list) else value


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


def convert(workflow: Workflow, knowledge: Knowledge, found: Findings) -> Prompt:
    """API form of a workflow, see :class:`Converter`."""
    return Converter(workflow, knowledge, found).run()

"""A saved workflow to API form, as the page does it when Run is pressed.

Subgraphs are expanded (``parent:child`` ids), reroutes and bypassed nodes are followed to what
feeds them, muted and page-only nodes are left out, ``widgets_values`` become named inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .findings import Findings
from .knowledge import Kind, Knowledge, connects
from .texts import first_choice
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
    """Converts one workflow; findings are collected, nothing is raised.

    Attributes:
        prompt: what came of it.
        sent: the nodes that are in it, with their ids there.
    """

    def __init__(self, workflow: Workflow, knowledge: Knowledge, found: Findings) -> None:
        self.workflow, self.knowledge, self.found = workflow, knowledge, found
        self.prompt: Prompt = {}
        self.places: dict[str, Place] = {}
        self.fields: dict[str, dict[str, Any]] = {}
        self.sent: list[tuple[str, Node]] = []

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
                self.sent.append((place.prefix + node.id, node))
        for entry in self.prompt.values():
            self._drop_removed(entry["inputs"])
        return self.prompt

    def _expand(self, place: Place):
        """Every node with the place it stands in; muted subgraphs too, as the page does."""
        self.places[place.prefix] = place
        for node in place.graph.nodes.values():
            if len(self.fields) >= NODES:
                self.found.add("ZI-WF-LARGE", value=NODES)
                return
            self.fields[place.prefix + node.id] = self._values(node)
            yield place, node
            inner = self.workflow.subgraphs.get(node.type)
            if inner is None:
                continue
            if place.depth >= DEPTH:
                self.found.add("ZI-WF-CYCLE", place.prefix + node.id, node.title)
                continue
            yield from self._expand(Place(inner, f"{place.prefix}{node.id}:", place, node))

    def _entry(self, place: Place, node: Node) -> dict[str, Any]:
        kind = self.knowledge.get(node.type)
        inputs = {k: _wrap(v) for k, v in self.fields[place.prefix + node.id].items()}
        for number, slot in enumerate(node.inputs):
            found = self._input(place, node, number)
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
        widgets = kind.widgets
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

    def _input(
        self, place: Place, node: Node, number: int, depth: int = 0, kind: str = ""
    ) -> Value | Output | None:
        """What feeds an input: an output, a value, or nothing.

        Args:
            kind: the type that is asked for in the end; empty: that of this input.
        """
        slot = node.inputs[number]
        link = place.graph.links.get(slot.link) if slot.link is not None else None
        return self._follow(place, link, depth, kind or slot.type) if link else None

    def _follow(self, place: Place, link: Link, depth: int, kind: str) -> Value | Output | None:
        if depth > DEPTH:
            self.found.add("ZI-WF-CYCLE", place.prefix + link.target)
            return None
        if link.origin == SUBGRAPH_INPUT:
            return self._from_outside(place, link.origin_slot, depth)
        origin = place.graph.nodes.get(link.origin)
        if origin is None:
            return None
        if origin.mode == BYPASS:
            number = _bypass(origin, link, kind)
            return None if number is None else self._input(place, origin, number, depth + 1)
        inner = self.places.get(f"{place.prefix}{origin.id}:")
        if inner is not None:
            return self._from_inside(inner, link.origin_slot, depth, kind)
        if origin.type == "Reroute":
            return self._input(place, origin, 0, depth + 1, kind) if origin.inputs else None
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

    def _from_inside(
        self, inner: Place, number: int, depth: int, kind: str
    ) -> Value | Output | None:
        """An output of a subgraph: what is linked to it inside."""
        link = inner.graph.arriving.get((SUBGRAPH_OUTPUT, number))
        return self._follow(inner, link, depth + 1, kind) if link else None


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


def _bypass(node: Node, link: Link, wanted: str) -> int | None:
    """Which input a bypassed node passes on.

    The one in the same slot if its type fits, else the first of exactly the wanted type, else the
    first that fits at all.
    """
    slot = link.origin_slot
    if wanted in ("*", ""):
        return (slot if slot < len(node.inputs) else 0) if node.inputs else None
    given = node.output_types[slot] if 0 <= slot < len(node.output_types) else link.type

    def suits(kind: str) -> bool:
        return connects(kind, given) and connects(kind, wanted)

    if 0 <= slot < len(node.inputs) and suits(node.inputs[slot].type):
        return slot
    exact = node.first_of_type.get(wanted)
    if exact is not None:
        return exact
    return next((number for kind, number in node.first_of_type.items() if suits(kind)), None)


def _wrap(value: Any) -> Any:
    """A list is a link in API form, so a value that is a list travels in a wrapper."""
    return {"__value__": value} if isinstance(value, list) else value

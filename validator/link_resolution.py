"""What feeds an input: links followed through reroutes, bypassed nodes and subgraphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .cycles import shown
from .findings import Findings
from .knowledge import connects
from .workflow import BYPASS, SUBGRAPH_INPUT, SUBGRAPH_OUTPUT, VIRTUAL, Graph, Link, Node

STEPS = 1_000_000
"""Links that are followed in all; a hostile file could ask for any number."""
COMPARISONS = 1_000_000
"""Types of inputs of bypassed nodes that are compared in all: half a second."""


@dataclass(frozen=True)
class Value:
    """An input's value that comes from a field, not from a link."""

    value: Any


@dataclass(frozen=True)
class Output:
    """An output of a node that is part of the prompt."""

    node: str
    slot: int


@dataclass(frozen=True)
class Told:
    """Nothing feeds the input, and why has been told."""


class Place:
    """A graph in the expanded tree: the root, or one use of a subgraph."""

    def __init__(self, graph: Graph, prefix: str = "", parent: Place | None = None,
                 user: Node | None = None) -> None:  # fmt: skip
        self.graph, self.prefix, self.parent, self.user = graph, prefix, parent, user
        self.depth: int = parent.depth + 1 if parent else 0

    def holds_itself(self, graph: Graph) -> bool:
        """True when a graph is this one or one around it."""
        place: Place | None = self
        while place is not None and place.graph is not graph:
            place = place.parent
        return place is not None


@dataclass(frozen=True)
class Step:
    """One link on the way to what feeds an input.

    Attributes:
        kind: the type that is asked for in the end.
    """

    place: Place
    link: Link
    kind: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Two steps of one key go the same way."""
        return self.place.prefix, self.link.id, self.kind


Source = Value | Output | Told | None


class Links:
    """Follows links; every one once, whatever hangs on it.

    Args:
        places: every use of a subgraph, by the prefix of its ids.
    """

    def __init__(self, places: Mapping[str, Place], found: Findings) -> None:
        self.places, self.found = places, found
        self._known: dict[tuple[str, str, str], Source] = {}
        self._rings: set[frozenset[str]] = set()
        self._full = False
        self._compared = 0

    def source(self, place: Place, node: Node, number: int) -> Source:
        """What feeds an input of a node: an output, a value, or nothing."""
        step: Step | Source = _at(place, node, number)
        walked: dict[tuple[str, str, str], Step] = {}
        while isinstance(step, Step):
            if step.key in self._known:
                step = self._known[step.key]
            elif step.key in walked:
                step = self._ring(list(walked.values()), step)
            elif len(self._known) + len(walked) >= STEPS:
                step = self._too_many()
            else:
                walked[step.key] = step
                step = self._next(step)
        self._known |= dict.fromkeys(walked, step)
        return step

    def _next(self, step: Step) -> Step | Source:
        place, link = step.place, step.link
        if link.origin == SUBGRAPH_INPUT:
            return _from_outside(place, link.origin_slot)
        origin = place.graph.nodes.get(link.origin)
        if origin is None:
            return Told()
        if origin.mode == BYPASS:
            self._compared += len(origin.first_of_type)
            if self._compared > COMPARISONS:
                return self._too_many()
            number = _bypass(origin, link, step.kind)
            return None if number is None else _at(place, origin, number)
        inner = self.places.get(f"{place.prefix}{origin.id}:")
        if inner is not None:
            leaving = inner.graph.arriving.get((SUBGRAPH_OUTPUT, link.origin_slot))
            return Step(inner, leaving, step.kind) if leaving else None
        if origin.type == "Reroute":
            return _at(place, origin, 0, step.kind) if origin.inputs else None
        if origin.type in VIRTUAL:
            return None
        return Output(place.prefix + origin.id, link.origin_slot)

    def _ring(self, walked: list[Step], again: Step) -> Told:
        """Tells a ring once; its nodes are those that the links come from."""
        first = next(n for n, step in enumerate(walked) if step.key == again.key)
        names: dict[str, str] = {}
        for step in walked[first:][::-1]:  # the steps go against the links
            origin = step.place.graph.nodes.get(step.link.origin)
            if origin is not None:
                names[step.place.prefix + origin.id] = origin.title
        if names and frozenset(names) not in self._rings:
            self._rings.add(frozenset(names))
            number, title = next(iter(names.items()))
            self.found.add("ZI-WF-CYCLE", number, title, ring=shown(list(names.items())))
        return Told()

    def _too_many(self) -> Told:
        if not self._full:
            self._full = True
            self.found.add("ZI-WF-LARGE", zh=f"{STEPS} 段连线", en=f"{STEPS} links")
        return Told()


def _at(place: Place, node: Node, number: int, kind: str = "") -> Step | Told | None:
    """The link of an input; ``kind`` is the type asked for if it is not that of the input."""
    slot = node.inputs[number]
    link = place.graph.links.get(slot.link) if slot.link is not None else None
    if link:
        return Step(place, link, kind or slot.type)
    return Told() if (node.id, slot.name) in place.graph.broken else None


def _from_outside(place: Place, number: int) -> Step | Source:
    """An input of the subgraph: what is linked to its node outside, or its field there."""
    if place.parent is None or place.user is None:
        return None
    if not 0 <= number < len(place.graph.inputs):
        return None
    name = place.graph.inputs[number]
    linked = place.user.linked.get(name)
    if linked is not None:
        return _at(place.parent, place.user, linked)
    return _promoted(place.user, place.graph, name)


def _promoted(node: Node, graph: Graph, name: str) -> Value | None:
    """The value that the node of a subgraph holds for one of its inputs."""
    number = (node.proxied or graph.fields).get(name)
    if number is None or not isinstance(node.values, list) or number >= len(node.values):
        return None
    return Value(node.values[number])


def _bypass(node: Node, link: Link, wanted: str) -> int | None:
    """Which input a bypassed node passes on.

    The one in the same slot if its type fits, else the first of exactly the wanted type, else the
    first that fits at all.
    """
    slot = link.origin_slot
    if wanted in ("*", ""):
        return (slot if 0 <= slot < len(node.inputs) else 0) if node.inputs else None
    given = node.output_types[slot] if 0 <= slot < len(node.output_types) else link.type

    def suits(kind: str) -> bool:
        return connects(kind, given) and connects(kind, wanted)

    if 0 <= slot < len(node.inputs) and suits(node.inputs[slot].type):
        return slot
    exact = node.first_of_type.get(wanted)
    if exact is not None:
        return exact
    return next((number for kind, number in node.first_of_type.items() if suits(kind)), None)

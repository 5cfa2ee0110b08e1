"""Resolution of links: what feeds an input, behind reroutes, bypassed nodes and subgraphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..errors.bilingual import Bilingual
from .cycles import describe
from .findings import Findings
from .json_values import is_list
from .knowledge import connects
from .workflow import BYPASS, PAGE_ONLY, SUBGRAPH_INPUT, SUBGRAPH_OUTPUT, Graph, Link, Node

MAX_STEPS = 1_000_000
"""Maximum number of links that are followed in one file; a hostile file could cause any number."""
MAX_COMPARISONS = 1_000_000
"""Maximum number of type comparisons for bypassed nodes in one file; they take half a second."""


@dataclass(frozen=True)
class Value:
    """A value from a field, not from a link."""

    value: Any


@dataclass(frozen=True)
class Output:
    """An output of a node that is part of the prompt."""

    node: str
    slot: int


@dataclass(frozen=True)
class AlreadyReported:
    """Nothing feeds the input, and a finding says why."""


class GraphInstance:
    """A graph in the expanded tree: the root graph, or one use of a subgraph.

    Attributes:
        graph: The graph.
        prefix: The beginning of the ids of its nodes in API form.
        parent: The instance that holds the subgraph's node. None for the root graph.
        user: The subgraph's node. None for the root graph.
        depth: The number of instances around it.
    """

    def __init__(
        self,
        graph: Graph,
        prefix: str = "",
        parent: GraphInstance | None = None,
        user: Node | None = None,
    ) -> None:
        """Create an instance; the defaults are those of the root graph."""
        self.graph = graph
        self.prefix = prefix
        self.parent = parent
        self.user = user
        self.depth: int = parent.depth + 1 if parent else 0

    def is_within(self, graph: Graph) -> bool:
        """Return whether a graph is this one or one around it."""
        instance: GraphInstance | None = self
        while instance is not None and instance.graph is not graph:
            instance = instance.parent
        return instance is not None


StepKey: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True)
class Step:
    """One link on the way to what feeds an input.

    Attributes:
        instance: The graph of the link.
        link: The link.
        wanted: The type of the input at the end of the way.
    """

    instance: GraphInstance
    link: Link
    wanted: str

    @property
    def key(self) -> StepKey:
        """What identifies the step: two steps with one key lead to the same result."""
        return self.instance.prefix, self.link.id, self.wanted


Source: TypeAlias = Value | Output | AlreadyReported | None


class LinkResolver:
    """Follows links, each only once, however many inputs are behind it."""

    def __init__(self, instances: Mapping[str, GraphInstance], findings: Findings) -> None:
        """Prepare the resolution of links.

        Args:
            instances: Every instance by the prefix of its ids. It may still grow.
            findings: Gets a finding for each cycle.
        """
        self._instances = instances
        self._findings = findings
        self._sources: dict[StepKey, Source] = {}
        self._reported_cycles: set[frozenset[str]] = set()
        self._reported_too_large = False
        self._comparisons = 0

    def source(self, instance: GraphInstance, node: Node, position: int) -> Source:
        """Return what feeds an input of a node: an output, a value, or nothing."""
        step: Step | Source = _step_from_input(instance, node, position)
        path: dict[StepKey, Step] = {}
        while isinstance(step, Step):
            if step.key in self._sources:
                step = self._sources[step.key]
            elif step.key in path:
                step = self._report_cycle(list(path.values()), step)
            elif len(self._sources) + len(path) >= MAX_STEPS:
                step = self._report_too_large()
            else:
                path[step.key] = step
                step = self._next(step)
        self._sources |= dict.fromkeys(path, step)
        return step

    def _next(self, step: Step) -> Step | Source:
        """Return the step before a link, or what feeds it."""
        instance, link = step.instance, step.link
        if link.origin == SUBGRAPH_INPUT:
            return _step_out_of_subgraph(instance, link.origin_slot)
        origin = instance.graph.nodes.get(link.origin)
        if origin is None:
            return AlreadyReported()
        if origin.mode == BYPASS:
            return self._step_through_bypass(step, origin)
        inner = self._instances.get(f"{instance.prefix}{origin.id}:")
        if inner is not None:
            inner_link = inner.graph.link_to.get((SUBGRAPH_OUTPUT, link.origin_slot))
            return Step(inner, inner_link, step.wanted) if inner_link else None
        if origin.type == "Reroute":
            return _step_from_input(instance, origin, 0, step.wanted) if origin.inputs else None
        if origin.type in PAGE_ONLY:
            return None
        return Output(instance.prefix + origin.id, link.origin_slot)

    def _step_through_bypass(self, step: Step, origin: Node) -> Step | Source:
        self._comparisons += len(origin.first_of_type)
        if self._comparisons > MAX_COMPARISONS:
            return self._report_too_large()
        position = _bypassed_input(origin, step.link, step.wanted)
        return None if position is None else _step_from_input(step.instance, origin, position)

    def _report_cycle(self, path: list[Step], repeated: Step) -> AlreadyReported:
        """Report a cycle once. Its nodes are the origins of the links."""
        start = next(index for index, step in enumerate(path) if step.key == repeated.key)
        titles: dict[str, str] = {}
        for step in path[start:][::-1]:  # the steps run against the links
            origin = step.instance.graph.nodes.get(step.link.origin)
            if origin is not None:
                titles[step.instance.prefix + origin.id] = origin.title
        if titles and frozenset(titles) not in self._reported_cycles:
            self._reported_cycles.add(frozenset(titles))
            node_id, title = next(iter(titles.items()))
            ring = describe(list(titles.items()))
            self._findings.add("ZI-WF-CYCLE", node_id, title, ring=ring)
        return AlreadyReported()

    def _report_too_large(self) -> AlreadyReported:
        if not self._reported_too_large:
            self._reported_too_large = True
            maximum = Bilingual(f"{MAX_STEPS} 段连线", f"{MAX_STEPS} links")
            self._findings.add("ZI-WF-LARGE", maximum=maximum)
        return AlreadyReported()


def _step_from_input(
    instance: GraphInstance, node: Node, position: int, wanted: str = ""
) -> Step | AlreadyReported | None:
    """Return the step for the link of an input.

    Args:
        instance: The graph of the node.
        node: The node.
        position: The number of the input.
        wanted: The type at the end of the way, if it is not that of the input.
    """
    slot = node.inputs[position]
    link = instance.graph.links.get(slot.link) if slot.link is not None else None
    if link:
        return Step(instance, link, wanted or slot.type)
    is_broken = (node.id, slot.name) in instance.graph.broken
    return AlreadyReported() if is_broken else None


def _step_out_of_subgraph(instance: GraphInstance, position: int) -> Step | Source:
    """Return what feeds an input of a subgraph: the link of its node outside, or a field there."""
    if instance.parent is None or instance.user is None:
        return None
    if not 0 <= position < len(instance.graph.inputs):
        return None
    name = instance.graph.inputs[position]
    linked = instance.user.linked.get(name)
    if linked is not None:
        return _step_from_input(instance.parent, instance.user, linked)
    return _promoted_value(instance.user, instance.graph, name)


def _promoted_value(node: Node, graph: Graph, name: str) -> Value | None:
    """Return the value that a subgraph's node holds for one of its inputs."""
    position = (node.proxied or graph.field_positions).get(name)
    if position is None or not is_list(node.values) or position >= len(node.values):
        return None
    return Value(node.values[position])


def _bypassed_input(node: Node, link: Link, wanted: str) -> int | None:
    """Return the number of the input that a bypassed node passes on.

    It is the one in the same slot if its type fits, else the first of exactly the wanted type,
    else the first that fits.
    """
    slot = link.origin_slot
    if wanted in ("*", ""):
        return (slot if 0 <= slot < len(node.inputs) else 0) if node.inputs else None
    output_type = node.output_types[slot] if 0 <= slot < len(node.output_types) else link.type

    def fits(input_type: str) -> bool:
        return connects(input_type, output_type) and connects(input_type, wanted)

    if 0 <= slot < len(node.inputs) and fits(node.inputs[slot].type):
        return slot
    exact = node.first_of_type.get(wanted)
    if exact is not None:
        return exact
    return next((position for name, position in node.first_of_type.items() if fits(name)), None)

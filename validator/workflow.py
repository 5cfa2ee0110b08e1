"""A saved workflow as records. The reader accepts any JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeGuard, TypeVar

from ..errors.bilingual import Bilingual
from . import shape_findings
from .findings import Findings
from .json_values import (
    JsonList,
    JsonObject,
    as_list,
    as_object,
    is_integer,
    is_list,
    is_object,
    objects_in,
)

Key = TypeVar("Key")
Item = TypeVar("Item")
ALWAYS, NEVER, BYPASS = 0, 2, 4
"""Modes of a node, with the numbers of the page. ``NEVER`` is "muted" in the page."""
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
"""The ids that links inside a subgraph use for its inputs and its outputs."""
NOTES = frozenset({"Note", "MarkdownNote"})
PAGE_ONLY = NOTES | {"Reroute", "PrimitiveNode"}
"""Nodes that exist only in the page."""
MAX_PREFIX = 1000
"""Maximum length of a prefix within which nested subgraphs are searched for."""


@dataclass(frozen=True)
class Slot:
    """An input of a node.

    Attributes:
        name: The name.
        type: The type.
        link: The id of its link, if any.
        widget: Whether the page draws it as a field as well.
    """

    name: str
    type: str
    link: str | None
    widget: bool = False


@dataclass(frozen=True)
class Link:
    """A link from an output of one node to an input of another."""

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int
    type: str


@dataclass
class Node:
    """One node of a graph.

    Attributes:
        id: The id in its graph.
        type: The node class, or the id of a subgraph.
        title: The name in the page.
        mode: :data:`ALWAYS`, :data:`NEVER` or :data:`BYPASS`.
        inputs: The inputs that can be linked.
        values: ``widgets_values`` as saved.
        proxies: ``proxyWidgets`` of a subgraph's node as saved.
        output_types: The types of the outputs.
        models: Model files to download: ``{"name", "url", "directory"}``.
    """

    id: str
    type: str
    title: str
    mode: int
    inputs: list[Slot]
    values: JsonList | JsonObject
    proxies: JsonList = field(default_factory=list[Any])
    output_types: list[str] = field(default_factory=list[str])
    models: list[JsonObject] = field(default_factory=list[JsonObject])

    @cached_property
    def linked(self) -> dict[str, int]:
        """Position of the first linked input of each name."""
        return _first_of_key(
            (slot.name, position)
            for position, slot in enumerate(self.inputs)
            if slot.link is not None
        )

    @cached_property
    def first_of_type(self) -> dict[str, int]:
        """Position of the first input of each type."""
        return _first_of_key((slot.type, position) for position, slot in enumerate(self.inputs))

    @cached_property
    def proxied(self) -> dict[str, int]:
        """Names of the fields that a subgraph's node shows, with their position in ``values``."""
        pairs = [pair for pair in self.proxies if is_list(pair) and len(pair) == 2]
        return _first_of_key((str(name), position) for position, (_, name) in enumerate(pairs))


@dataclass
class Graph:
    """A graph, either the root or the definition of a subgraph.

    Attributes:
        nodes: The nodes by id.
        links: The links by id.
        inputs: The names of the inputs of a subgraph.
        outputs: The names of the outputs of a subgraph.
        broken: Inputs (node and name) whose link is reported as invalid.
    """

    nodes: dict[str, Node]
    links: dict[str, Link]
    inputs: list[str] = field(default_factory=list[str])
    outputs: list[str] = field(default_factory=list[str])
    broken: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    @cached_property
    def links_from(self) -> dict[str, list[Link]]:
        """Links by the node that they start at."""
        links: dict[str, list[Link]] = defaultdict(list)
        for link in self.links.values():
            links[link.origin].append(link)
        return links

    @cached_property
    def link_to(self) -> dict[tuple[str, int], Link]:
        """The first link to each input."""
        return _first_of_key(
            ((link.target, link.target_slot), link) for link in self.links.values()
        )

    @cached_property
    def field_positions(self) -> dict[str, int]:
        """Position, among each other, of the subgraph's inputs that lead to a field inside."""
        slots_to_fields: set[int] = set()
        for link in self.links_from.get(SUBGRAPH_INPUT, ()):
            target = self.nodes.get(link.target)
            slots = target.inputs if target else []
            if 0 <= link.target_slot < len(slots) and slots[link.target_slot].widget:
                slots_to_fields.add(link.origin_slot)
        names = [name for slot, name in enumerate(self.inputs) if slot in slots_to_fields]
        return _first_of_key((name, position) for position, name in enumerate(names))


@dataclass
class Workflow:
    """The root graph, and the definitions of its subgraphs by id."""

    root: Graph
    subgraphs: dict[str, Graph]


def is_workflow(document: object) -> TypeGuard[JsonObject]:
    """Return whether a document is a saved workflow and not API form."""
    return is_object(document) and is_list(document.get("nodes"))


def parse(document: JsonObject, findings: Findings) -> Workflow:
    """Return a saved workflow as records. Report and skip parts of another shape."""
    definitions = objects_in(as_object(document.get("definitions")).get("subgraphs"))
    prefixes = _subgraph_prefixes(document, definitions)
    subgraphs: dict[str, Graph] = {}
    for position, entry in enumerate(definitions):
        name, path = entry.get("id"), f"definitions.subgraphs[{position}]."
        if not isinstance(name, str):
            shape_findings.add(findings, f"{path}id", name, shape_findings.STRING)
        elif name in subgraphs:
            findings.add("ZI-WF-DUPLICATE", value=name, kind=shape_findings.SUBGRAPH_ID)
        else:
            prefix = prefixes.get(name, f"{name}:")
            subgraphs[name] = _parse_graph(entry, findings, prefix, path)
    return Workflow(_parse_graph(document, findings), subgraphs)


def _subgraph_prefixes(document: JsonObject, definitions: list[JsonObject]) -> dict[str, str]:
    """Return the prefix of the node ids in the first use of each subgraph."""
    by_id = {entry["id"]: entry for entry in definitions[::-1] if isinstance(entry.get("id"), str)}
    prefixes: dict[str, str] = {}
    graphs = [("", document)]
    for prefix, graph in graphs:  # grows while it is read
        for node in objects_in(graph.get("nodes")):
            node_id, name = node.get("id"), node.get("type")
            if not isinstance(name, str) or name not in by_id or name in prefixes:
                continue
            if _is_id(node_id):
                prefixes[name] = f"{prefix}{node_id}:"
                if len(prefixes[name]) < MAX_PREFIX:
                    graphs.append((prefixes[name], by_id[name]))
    return prefixes


def _parse_graph(
    document: JsonObject, findings: Findings, prefix: str = "", path: str = ""
) -> Graph:
    """Return a graph.

    Args:
        document: The root graph, or the definition of a subgraph.
        findings: Gets a finding for each part of another shape.
        prefix: The beginning of the node ids in findings.
        path: The path of the graph in the file.
    """
    graph = Graph(
        nodes=_parse_nodes(as_list(document.get("nodes")), findings, prefix, path),
        links=_parse_links(as_list(document.get("links")), findings, prefix, path),
        inputs=[str(row.get("name")) for row in objects_in(document.get("inputs"))],
        outputs=[str(row.get("name")) for row in objects_in(document.get("outputs"))],
    )
    _check_links(graph, findings, prefix)
    return graph


def _parse_nodes(entries: JsonList, findings: Findings, prefix: str, path: str) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for position, entry in enumerate(entries):
        node = _parse_node(entry)
        if node is None:
            place = f"{path}nodes[{position}]"
            shape_findings.add(findings, place, entry, shape_findings.PAGE_NODE)
        elif node.id in nodes:
            node_id = prefix + node.id
            findings.add(
                "ZI-WF-DUPLICATE", node_id, node.title, value=node.id, kind=shape_findings.NODE_ID
            )
        else:
            nodes[node.id] = node
    return nodes


def _parse_links(entries: JsonList, findings: Findings, prefix: str, path: str) -> dict[str, Link]:
    links: dict[str, Link] = {}
    for position, entry in enumerate(entries):
        if entry is None:
            continue
        link = _parse_link(entry)
        if link is None:
            shape_findings.add(findings, f"{path}links[{position}]", entry, shape_findings.LINK)
        elif links.setdefault(link.id, link) is not link:
            target = prefix + link.target
            findings.add("ZI-WF-DUPLICATE", target, value=link.id, kind=shape_findings.LINK_ID)
    return links


def _parse_node(entry: object) -> Node | None:
    if not is_object(entry) or not _is_id(entry.get("id")):
        return None
    node_type = entry.get("type")
    if not isinstance(node_type, str):
        return None
    values = entry.get("widgets_values")
    properties = as_object(entry.get("properties"))
    mode = entry.get("mode")
    return Node(
        id=str(entry["id"]),
        type=node_type,
        title=str(entry.get("title") or properties.get("Node name for S&R") or node_type),
        mode=mode if mode in (NEVER, BYPASS) else ALWAYS,
        inputs=[_parse_slot(row) for row in objects_in(entry.get("inputs"))],
        values=values if is_list(values) or is_object(values) else [],
        proxies=as_list(properties.get("proxyWidgets")),
        output_types=[str(row.get("type")) for row in objects_in(entry.get("outputs"))],
        models=objects_in(properties.get("models")),
    )


def _parse_slot(row: JsonObject) -> Slot:
    link = row.get("link")
    slot_type = row.get("type")
    return Slot(
        name=str(row.get("name")),
        type="COMBO" if is_list(slot_type) else str(slot_type),
        link=str(link) if _is_id(link) else None,
        widget=is_object(row.get("widget")),
    )


def _parse_link(entry: object) -> Link | None:
    """Return a link from ``[id, origin, slot, target, slot, type]`` or an object of the same."""
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    row: JsonList = [entry.get(name) for name in names] if is_object(entry) else as_list(entry)
    if len(row) < 5:
        return None
    link_id, origin, origin_slot, target, target_slot = row[:5]
    if not (_is_id(link_id) and _is_id(origin) and _is_id(target)):
        return None
    if not all(is_integer(slot) and slot >= 0 for slot in (origin_slot, target_slot)):
        return None
    link_type = row[5] if len(row) > 5 and isinstance(row[5], str) else "*"
    return Link(str(link_id), str(origin), origin_slot, str(target), target_slot, link_type)


def _check_links(graph: Graph, findings: Findings, prefix: str) -> None:
    """Report links that do not lead to the input that names them, and the other way round."""
    named = {(node.id, slot.link) for node in graph.nodes.values() for slot in node.inputs}
    for node in graph.nodes.values():
        for slot in node.inputs:
            fault = _named_link_fault(graph, node, slot.link) if slot.link is not None else None
            if fault:
                graph.broken.add((node.id, slot.name))
                _report_link(findings, prefix, node, slot.name, slot.link, fault)
    for link in graph.links.values():
        node = graph.nodes.get(link.target)
        if node is not None and (node.id, link.id) not in named:
            name, fault = _unnamed_link_fault(node, link)
            graph.broken.add((node.id, name))
            _report_link(findings, prefix, node, name, link.id, fault)


def _report_link(
    findings: Findings, prefix: str, node: Node, name: str, link: str | None, fault: Bilingual
) -> None:
    findings.add("ZI-WF-LINK", prefix + node.id, node.title, name, value=link, found=fault)


def _named_link_fault(graph: Graph, node: Node, link_id: str) -> Bilingual | None:
    """Return what is wrong with the link that an input names."""
    link = graph.links.get(link_id)
    if link is None:
        return Bilingual("没有这条连线", "there is no such link")
    if link.target != node.id:
        return Bilingual(f"它通向节点 {link.target}", f"it leads to node {link.target}")
    if link.origin != SUBGRAPH_INPUT and link.origin not in graph.nodes:
        return Bilingual(f"没有节点 {link.origin}", f"there is no node {link.origin}")
    return None


def _unnamed_link_fault(node: Node, link: Link) -> tuple[str, Bilingual]:
    """Return the input that a link leads to without being named there, and what is wrong."""
    if not 0 <= link.target_slot < len(node.inputs):
        return f"[{link.target_slot}]", Bilingual("没有这个输入", "there is no such input")
    slot = node.inputs[link.target_slot]
    if slot.link is None:
        return slot.name, Bilingual("这个输入没有记下它", "the input does not name it")
    return slot.name, Bilingual(
        f"连线 {slot.link} 占用了同一个输入",
        f"link {slot.link} claims the same input",
    )


def _first_of_key(pairs: Iterable[tuple[Key, Item]]) -> dict[Key, Item]:
    """Return a dictionary that keeps the first of equal keys."""
    items: dict[Key, Item] = {}
    for key, item in pairs:
        items.setdefault(key, item)
    return items


def _is_id(value: object) -> bool:
    return is_integer(value) or (isinstance(value, str) and 0 < len(value) <= 200)

"""A workflow as the page saves it, read without trusting anything in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from . import shapes
from .findings import Findings
from .inputs import rows, table

Key = TypeVar("Key")
Kept = TypeVar("Kept")
ALWAYS, NEVER, BYPASS = 0, 2, 4
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
NOTES = frozenset({"Note", "MarkdownNote"})
PREFIX = 1000
"""Characters of the place of a subgraph within which subgraphs of its own are looked for."""
VIRTUAL = NOTES | {"Reroute", "PrimitiveNode"}
"""Nodes that live only in the page."""


@dataclass(frozen=True)
class Slot:
    """An input of a node: its name, type, and the id of its link, if any."""

    name: str
    type: str
    link: str | None
    widget: bool = False


@dataclass(frozen=True)
class Link:
    """From an output of one node to an input of another."""

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int
    type: str


@dataclass
class Node:
    """One node of a graph; ``values`` is ``widgets_values`` as it was saved.

    ``models`` are the files that it says where to get: ``{"name", "url", "directory"}``.
    """

    id: str
    type: str
    title: str
    mode: int
    inputs: list[Slot]
    values: list | dict
    proxies: list = field(default_factory=list)
    output_types: list[str] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def linked(self) -> dict[str, int]:
        """Number of the first linked input of each name."""
        return _first((slot.name, n) for n, slot in enumerate(self.inputs) if slot.link is not None)

    @cached_property
    def first_of_type(self) -> dict[str, int]:
        """Number of the first input of each type."""
        return _first((slot.type, number) for number, slot in enumerate(self.inputs))

    @cached_property
    def proxied(self) -> dict[str, int]:
        """Names of the fields that a subgraph's node shows, with their place in ``values``."""
        pairs = [pair for pair in self.proxies if isinstance(pair, list) and len(pair) == 2]
        return _first((str(name), number) for number, (_, name) in enumerate(pairs))


@dataclass
class Graph:
    """Nodes and links by id; a subgraph also has named inputs and outputs.

    ``broken`` are inputs (node and name) of whose link has been told that it cannot be used.
    """

    nodes: dict[str, Node]
    links: dict[str, Link]
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    broken: set[tuple[str, str]] = field(default_factory=set)

    @cached_property
    def leaving(self) -> dict[str, list[Link]]:
        """Links by the node they come from."""
        found: dict[str, list[Link]] = defaultdict(list)
        for link in self.links.values():
            found[link.origin].append(link)
        return found

    @cached_property
    def arriving(self) -> dict[tuple[str, int], Link]:
        """The first link to each input."""
        return _first(((link.target, link.target_slot), link) for link in self.links.values())

    @cached_property
    def fields(self) -> dict[str, int]:
        """A subgraph's inputs that lead to a field inside, numbered among themselves."""
        leading = set()
        for link in self.leaving.get(SUBGRAPH_INPUT, ()):
            target = self.nodes.get(link.target)
            slots = target.inputs if target else []
            if 0 <= link.target_slot < len(slots) and slots[link.target_slot].widget:
                leading.add(link.origin_slot)
        names = [name for number, name in enumerate(self.inputs) if number in leading]
        return _first((name, number) for number, name in enumerate(names))


@dataclass
class Workflow:
    """The root graph and the definitions of its subgraphs by id."""

    root: Graph
    subgraphs: dict[str, Graph]


def is_workflow(document: object) -> bool:
    """True for what the page saves, False for API form."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def parse(document: dict[str, Any], found: Findings) -> Workflow:
    """Read a saved workflow; what is not as it should be becomes a finding and is left out."""
    definitions = rows(table(document.get("definitions")).get("subgraphs"))
    uses = _uses(document, definitions)
    subgraphs = {}
    for number, entry in enumerate(definitions):
        name, where = entry.get("id"), f"definitions.subgraphs[{number}]."
        if not isinstance(name, str):
            shapes.tell(found, f"{where}id", name, shapes.TEXT)
        elif name in subgraphs:
            found.add("ZI-WF-DUPLICATE", value=name, zh="子图编号", en="a subgraph")
        else:
            subgraphs[name] = _graph(entry, found, uses.get(name, f"{name}:"), where)
    return Workflow(_graph(document, found), subgraphs)


def _uses(document: dict[str, Any], definitions: list[dict[str, Any]]) -> dict[str, str]:
    """Where subgraphs are used first, as what the ids of their nodes begin with."""
    inside = {entry["id"]: entry for entry in definitions[::-1] if isinstance(entry.get("id"), str)}
    found: dict[str, str] = {}
    waiting = [("", document)]
    for prefix, graph in waiting:
        for node in rows(graph.get("nodes")):
            number, kind = node.get("id"), node.get("type")
            used = f"{prefix}{number}:"
            if isinstance(kind, str) and kind in inside and kind not in found and _is_id(number):
                found[kind] = used
                if len(used) < PREFIX:
                    waiting.append((used, inside[kind]))
    return found


def _graph(document: dict[str, Any], found: Findings, prefix: str = "", where: str = "") -> Graph:
    """Args: ``prefix`` and ``where`` say whose nodes and rows these are."""
    nodes: dict[str, Node] = {}
    for number, entry in enumerate(_list(document.get("nodes"))):
        node = _node(entry)
        if node is None:
            shapes.tell(found, f"{where}nodes[{number}]", entry, shapes.PAGE_NODE)
        elif node.id in nodes:
            found.add("ZI-WF-DUPLICATE", prefix + node.id, node.title, value=node.id,
                      zh="节点编号", en="a node")  # fmt: skip
        else:
            nodes[node.id] = node
    links: dict[str, Link] = {}
    for number, entry in enumerate(_list(document.get("links"))):
        link = _link(entry)
        if link is None:
            if entry is not None:
                shapes.tell(found, f"{where}links[{number}]", entry, shapes.LINK)
        elif links.setdefault(link.id, link) is not link:
            found.add("ZI-WF-DUPLICATE", prefix + link.target, value=link.id,
                      zh="连线编号", en="a link")  # fmt: skip
    graph = Graph(nodes, links)
    graph.inputs = [str(row.get("name")) for row in rows(document.get("inputs"))]
    graph.outputs = [str(row.get("name")) for row in rows(document.get("outputs"))]
    _check_links(graph, found, prefix)
    return graph


def _node(entry: object) -> Node | None:
    if not isinstance(entry, dict) or not _is_id(entry.get("id")):
        return None
    kind = entry.get("type")
    if not isinstance(kind, str):
        return None
    values = entry.get("widgets_values")
    properties = table(entry.get("properties"))
    mode = entry.get("mode")
    return Node(
        id=str(entry["id"]),
        type=kind,
        title=str(entry.get("title") or properties.get("Node name for S&R") or kind),
        mode=mode if mode in (NEVER, BYPASS) else ALWAYS,
        inputs=[_slot(row) for row in rows(entry.get("inputs"))],
        values=values if isinstance(values, (list, dict)) else [],
        proxies=_list(properties.get("proxyWidgets")),
        output_types=[str(row.get("type")) for row in rows(entry.get("outputs"))],
        models=rows(properties.get("models")),
    )


def _slot(row: dict[str, Any]) -> Slot:
    link = row.get("link")
    kind = row.get("type")
    return Slot(
        name=str(row.get("name")),
        type="COMBO" if isinstance(kind, list) else str(kind),
        link=str(link) if _is_id(link) else None,
        widget=isinstance(row.get("widget"), dict),
    )


def _link(entry: object) -> Link | None:
    """``[id, origin, slot, target, slot, type]`` or the same as an object."""
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    row: list[Any] = (
        [entry.get(name) for name in names] if isinstance(entry, dict) else _list(entry)
    )
    if len(row) < 5:
        return None
    number, origin, origin_slot, target, target_slot = row[:5]
    slots_fit = all(_is_number(slot) and slot >= 0 for slot in (origin_slot, target_slot))
    if not (_is_id(number) and _is_id(origin) and _is_id(target) and slots_fit):
        return None
    kind = row[5] if len(row) > 5 and isinstance(row[5], str) else "*"
    return Link(str(number), str(origin), origin_slot, str(target), target_slot, kind)


def _check_links(graph: Graph, found: Findings, prefix: str) -> None:
    """Every link that an input names exists and leads back to that input."""
    named = {(node.id, slot.link) for node in graph.nodes.values() for slot in node.inputs}
    for node in graph.nodes.values():
        for slot in node.inputs:
            wrong = _fault(graph, node, slot.link) if slot.link is not None else None
            if wrong:
                _tell_link(graph, found, prefix, node, slot.name, str(slot.link), wrong)
    for link in graph.links.values():
        node = graph.nodes.get(link.target)
        if node is not None and (node.id, link.id) not in named:
            _tell_link(graph, found, prefix, node, *_claimed(node, link))


def _tell_link(
    graph: Graph, found: Findings, prefix: str, node: Node, name: str, link: str,
    wrong: tuple[str, str],
) -> None:  # fmt: skip
    graph.broken.add((node.id, name))
    zh, en = wrong
    found.add("ZI-WF-LINK", prefix + node.id, node.title, name, value=link, zh=zh, en=en)


def _fault(graph: Graph, node: Node, number: str) -> tuple[str, str] | None:
    """What is wrong with the link that an input names, in both languages."""
    link = graph.links.get(number)
    if link is None:
        return "没有这条连线", "there is no such link"
    if link.target != node.id:
        return f"它通向节点 {link.target}", f"it leads to node {link.target}"
    if link.origin != SUBGRAPH_INPUT and link.origin not in graph.nodes:
        return f"没有节点 {link.origin}", f"there is no node {link.origin}"
    return None


def _claimed(node: Node, link: Link) -> tuple[str, str, tuple[str, str]]:
    """The input that a link leads to although it does not name the link, and what is wrong."""
    if not 0 <= link.target_slot < len(node.inputs):
        return f"[{link.target_slot}]", link.id, ("没有这个输入", "there is no such input")
    slot = node.inputs[link.target_slot]
    if slot.link is None:
        return slot.name, link.id, ("这个输入没有记下它", "the input does not name it")
    return slot.name, link.id, (
        f"连线 {slot.link} 占用了同一个输入", f"link {slot.link} claims the same input",
    )  # fmt: skip


def _first(pairs: Iterable[tuple[Key, Kept]]) -> dict[Key, Kept]:
    """A dictionary in which the first of equal keys stays."""
    found: dict[Key, Kept] = {}
    for key, kept in pairs:
        found.setdefault(key, kept)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    return _is_number(value) or (isinstance(value, str) and 0 < len(value) <= 200)


def _list(value: object) -> list:
    return value if isinstance(value, list) else []

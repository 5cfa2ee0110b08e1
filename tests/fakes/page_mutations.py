"""Ways to break a workflow as the page saves it; see :mod:`.mutations`."""

from __future__ import annotations

import copy
import random
from typing import Any

from zimage_comfyui.tests.fakes.mutations import BIG, Break, Breaker, reached
from zimage_comfyui.tests.fakes.workflows import Document, check
from zimage_comfyui.validator.knowledge import Knowledge

INSIDE = {-10, -20}
"""Ids of the two ends of a subgraph, which are no nodes."""


def _graphs(workflow: Document) -> list[Document]:
    """The root and the subgraphs."""
    return [workflow, *workflow.get("definitions", {}).get("subgraphs", [])]


def _links(workflow: Document) -> list[tuple[Document, Any, dict[str, Any]]]:
    """Graph, link and the link's parts by name, of every link between two nodes."""
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    found = []
    for graph in _graphs(workflow):
        ids = {node["id"] for node in graph["nodes"]}
        for link in graph.get("links") or ():
            part = {name: link[name] if isinstance(link, dict) else link[number]
                    for number, name in enumerate(names)}  # fmt: skip
            if part["origin_id"] in ids and part["target_id"] in ids:
                found.append((graph, link, part))
    return found


def _prefixes(workflow: Document, graph: Document) -> list[str]:
    """How the ids of a graph's nodes begin in a prompt, for each use of it."""
    if graph is workflow:
        return [""]
    return [f"{prefix}{node['id']}:" for outer in _graphs(workflow) for node in outer["nodes"]
            if node["type"] == graph["id"] for prefix in _prefixes(workflow, outer)]  # fmt: skip


def _named(workflow: Document, graph: Document, *numbers: object) -> frozenset[str]:
    """Ids by which a check calls nodes of a graph; those of a subgraph that nobody uses, too."""
    prefixes = _prefixes(workflow, graph) or [f"{graph['id']}:"]
    return frozenset(f"{prefix}{number}" for prefix in prefixes for number in numbers)


def _sent(workflow: Document, graph: Document, node: Document, prompt: Document) -> set[str]:
    """Ids in the prompt of what a node became."""
    return {f"{prefix}{node['id']}" for prefix in _prefixes(workflow, graph)} & {*prompt}


def _set(link: Any, name: str, value: Any) -> None:
    link[name if isinstance(link, dict) else ("id", "origin_id", "origin_slot").index(name)] = value


def _node(graph: Document, number: object) -> Document:
    return next(node for node in graph["nodes"] if node["id"] == number)


def _slot(graph: Document, part: dict[str, Any]) -> Document | None:
    slots = _node(graph, part["target_id"]).get("inputs", [])
    number = part["target_slot"]
    named = number < len(slots) and slots[number].get("link") == part["id"]
    return slots[number] if named else None


def _link_breaker(damage: Any, *codes: str) -> Breaker:
    """Damages one link of a graph; told at the node that the link leads to."""

    def apply(workflow: Document, known: Knowledge, rng: random.Random) -> Break | None:
        found = [row for row in _links(workflow) if _slot(row[0], row[2])]
        if not found:
            return None
        graph, link, part = rng.choice(found)
        damage(graph, link, part, rng)
        return Break(codes, _named(workflow, graph, part["target_id"]))

    return apply


def _drop_row(graph: Document, link: Any, part: Document, rng: random.Random) -> None:
    graph["links"].remove(link)


def _drop_name(graph: Document, link: Any, part: Document, rng: random.Random) -> None:
    slot = _slot(graph, part)
    assert slot is not None
    slot["link"] = None


def _to_nowhere(graph: Document, link: Any, part: Document, rng: random.Random) -> None:
    _set(link, "origin_id", 987654321)


def _double_id(graph: Document, link: Any, part: Document, rng: random.Random) -> None:
    graph["links"].append(copy.deepcopy(link))


def _second_link(graph: Document, link: Any, part: Document, rng: random.Random) -> None:
    second = copy.deepcopy(link)
    _set(second, "id", 987654321)
    graph["links"].append(second)


def _disconnect(workflow: Document, known: Knowledge, rng: random.Random) -> Break | None:
    """As a user takes a link off: row and name go. What is sent then says what it does."""
    found = [row for row in _links(workflow) if _slot(row[0], row[2])]
    if not found:
        return None
    graph, link, part = rng.choice(found)
    slot = _slot(graph, part)
    assert slot is not None
    before = check(workflow, known).prompt or {}
    slot["link"] = None
    graph["links"].remove(link)
    users = _sent(workflow, graph, _node(graph, part["target_id"]), before)
    kind = known.get(_node(graph, part["target_id"])["type"])
    entry = kind.inputs.get(slot["name"]) if kind and users else None
    rule = ""
    if entry is None:
        rule = "its node is not sent"
    elif not entry.required:
        rule = "optional"
    elif entry.is_widget:
        rule = "its field has a value"
    elif not reached(before, known) & users:
        rule = "no output needs it"
    return Break(("ZI-WF-INPUT-MISSING",), frozenset(users), slot["name"], rule)


def _rename(workflow: Document, known: Knowledge, rng: random.Random) -> Break | None:
    before = check(workflow, known).prompt or {}
    graph, node = rng.choice([(g, node) for g in _graphs(workflow) for node in g["nodes"]])
    users = _sent(workflow, graph, node, before)
    unsent = node.get("mode") in (2, 4) or not _prefixes(workflow, graph)
    node["type"] += "X"  # a note or a subgraph becomes a node that nobody knows, too
    number = str(node["id"])
    return Break(("ZI-WF-NODE-UNKNOWN",), frozenset({number, *users}),
                 harmless="its node is not sent" if unsent and not users else "")  # fmt: skip


def _same_id(workflow: Document, known: Knowledge, rng: random.Random) -> Break | None:
    graph = rng.choice(_graphs(workflow))
    if len(graph["nodes"]) < 2:
        return None
    first, second = rng.sample(graph["nodes"], 2)
    second["id"] = first["id"]
    return Break(("ZI-WF-DUPLICATE",), _named(workflow, graph, first["id"]))


def _remove(workflow: Document, known: Knowledge, rng: random.Random) -> Break | None:
    """A node goes, its links stay."""
    graph = rng.choice(_graphs(workflow))
    node = rng.choice(graph["nodes"])
    users = _named(workflow, graph, *(
        part["target_id"] for owner, _, part in _links(workflow)
        if owner is graph and part["origin_id"] == node["id"] and _slot(owner, part)
    ))  # fmt: skip
    graph["nodes"].remove(node)
    return Break(("ZI-WF-LINK",), users, harmless="" if users else "nothing used it")


def _value(workflow: Document, known: Knowledge, rng: random.Random) -> Break | None:
    """A number in ``widgets_values`` far out of its range."""
    before = check(workflow, known).prompt or {}
    found = []
    for graph in _graphs(workflow):
        for node in graph["nodes"]:
            kind, values = known.get(node["type"]), node.get("widgets_values")
            for place, entry in enumerate(kind.widgets if kind else ()):
                if (entry and entry.types & {"INT", "FLOAT"} and "max" in entry.options
                        and isinstance(values, list) and place < len(values)):  # fmt: skip
                    found.append((graph, node, place, entry))
    if not found:
        return None
    graph, node, place, entry = rng.choice(found)
    users = _sent(workflow, graph, node, before)
    slots = [slot for slot in node.get("inputs", ()) if slot["name"] == entry.name]
    rule = ""
    if not users:
        rule = "its node is not sent"
    elif any(slot.get("link") is not None for slot in slots):
        rule = "a link takes its place"
    elif not reached(before, known) & users:
        rule = "no output needs it"
    node["widgets_values"][place] = BIG
    return Break(("ZI-WF-RANGE",), frozenset(users), entry.name, rule)


def _shape(workflow: Document, known: Knowledge, rng: random.Random) -> Break | None:
    """A node or a link that is none."""
    rows = workflow[rng.choice(["nodes", "links"])]
    if not rows:
        return None
    rows[rng.randrange(len(rows))] = rng.choice([7, "x", {}, [], {"id": None}])
    return Break(("ZI-WF-SHAPE", "ZI-WF-LINK"))


PAGE: dict[str, Breaker] = {
    "page: link row removed": _link_breaker(_drop_row, "ZI-WF-LINK"),
    "page: input forgets its link": _link_breaker(_drop_name, "ZI-WF-LINK"),
    "page: link from nowhere": _link_breaker(_to_nowhere, "ZI-WF-LINK"),
    "page: link id twice": _link_breaker(_double_id, "ZI-WF-DUPLICATE"),
    "page: second link to an input": _link_breaker(_second_link, "ZI-WF-LINK"),
    "page: disconnected": _disconnect,
    "page: class renamed": _rename,
    "page: node id twice": _same_id,
    "page: node removed": _remove,
    "page: value out of range": _value,
    "page: no node, no link": _shape,
}
"""Ways to break a saved workflow."""

"""A saved workflow to API form, as the page does it when Run is pressed.

Subgraphs are expanded (``parent:child`` ids), reroutes and bypassed nodes are followed to what
feeds them, muted and page-only nodes are left out, ``widgets_values`` become named inputs.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .dynamic_prompts import first_choice
from .findings import Findings
from .inputs import Input
from .knowledge import Kind, Knowledge
from .link_resolution import Links, Output, Place, Told, Value
from .workflow import BYPASS, NEVER, VIRTUAL, Node, Workflow

Prompt = dict[str, dict[str, Any]]
Unsent = dict[tuple[str, str], str]
DEPTH = 64
"""Subgraphs within subgraphs."""
NODES = 50_000
"""Nodes after expansion; subgraphs that use each other can multiply."""


class Converter:
    """Converts one workflow; findings are collected, nothing is raised.

    Attributes:
        prompt: what came of it.
        sent: the nodes that are in it, with their ids there.
        unsent: linked inputs (node and name) that get nothing all the same, with the title of the
            muted node that should feed them; empty where the reason has been told.
    """

    def __init__(self, workflow: Workflow, knowledge: Knowledge, found: Findings) -> None:
        self.workflow, self.knowledge, self.found = workflow, knowledge, found
        self.prompt: Prompt = {}
        self.places: dict[str, Place] = {}
        self.nodes: dict[str, Node] = {}
        self.fields: dict[str, dict[str, Any]] = {}
        self.sent: list[tuple[str, Node]] = []
        self.unsent: Unsent = {}
        self._links = Links(self.places, found)
        self._nested: set[str] = set()
        self._full = False

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
        for number, entry in self.prompt.items():
            self._drop_removed(number, entry["inputs"])
        return self.prompt

    def left_out(self) -> tuple[str, str]:
        """Why a prompt is empty, in both languages."""
        if not self.nodes:
            return "里面没有节点", "there is no node in it"
        why = Counter(
            "note" if node.type in VIRTUAL
            else "muted" if node.mode == NEVER
            else "bypassed" if node.mode == BYPASS
            else "empty"
            for node in self.nodes.values()
        )  # fmt: skip
        words = {
            "note": ("{} 个只在页面上（便签、转接点等）", "{} only on the page (notes, reroutes)"),
            "muted": ("{} 个被静音", "{} muted"),
            "bypassed": ("{} 个被绕过", "{} bypassed"),
            "empty": ("{} 个是空的子图", "{} empty subgraphs"),
        }
        told = [[text.format(why[name]) for text in words[name]] for name in words if why[name]]
        zh, en = (words[0] for words in told), (words[1] for words in told)
        return f"{len(self.nodes)} 个节点中，{'，'.join(zh)}", f"of its nodes, {', '.join(en)}"

    def _expand(self, place: Place):
        """Every node with the place it stands in; muted subgraphs too, as the page does."""
        self.places[place.prefix] = place
        for node in place.graph.nodes.values():
            number = place.prefix + node.id
            if self._full or len(self.nodes) >= NODES:
                self._too_large(f"{NODES} 个节点", f"{NODES} nodes")
                return
            if number in self.nodes:  # "1:3" at the root, and 3 inside the subgraph 1
                self.found.add("ZI-WF-DUPLICATE", number, node.title, value=number,
                               zh="节点编号", en="a node")  # fmt: skip
                continue
            self.nodes[number], self.fields[number] = node, self._values(node)
            yield place, node
            inner = self.workflow.subgraphs.get(node.type)
            if inner is None:
                continue
            if place.holds_itself(inner):
                if node.type not in self._nested:
                    self._nested.add(node.type)
                    self.found.add("ZI-WF-NESTED", number, node.title)
            elif place.depth >= DEPTH:
                self._too_large(f"{DEPTH} 层子图", f"{DEPTH} subgraphs within each other")
            else:
                yield from self._expand(Place(inner, f"{number}:", place, node))

    def _too_large(self, zh: str, en: str) -> None:
        if not self._full:
            self._full = True
            self.found.add("ZI-WF-LARGE", zh=zh, en=en)

    def _entry(self, place: Place, node: Node) -> dict[str, Any]:
        kind = self.knowledge.get(node.type)
        number = place.prefix + node.id
        inputs = {k: _wrap(v) for k, v in self.fields[number].items()}
        for position, slot in enumerate(node.inputs):
            source = self._links.source(place, node, position)
            if isinstance(source, Value):
                inputs[slot.name] = _wrap(source.value)
            elif isinstance(source, Output):
                inputs[slot.name] = [source.node, source.slot]
            elif isinstance(source, Told):
                self.unsent[number, slot.name] = ""
        title = node.title if kind is None or node.title != node.type else kind.title
        return {"inputs": inputs, "class_type": node.type, "_meta": {"title": title}}

    def _drop_removed(self, number: str, inputs: dict[str, Any]) -> None:
        for name, value in list(inputs.items()):
            if isinstance(value, list) and len(value) == 2 and value[0] not in self.prompt:
                del inputs[name]
                origin = self.nodes.get(value[0])
                if origin is not None and origin.mode == NEVER:
                    self.unsent[number, name] = origin.title or value[0]

    # --- fields ---------------------------------------------------------------------------

    def _values(self, node: Node) -> dict[str, Any]:
        """What a node's fields hold, by name."""
        kind = self.knowledge.get(node.type)
        if kind is None:
            return {}
        saved = node.values
        rows = _without_forced(kind, saved) if isinstance(saved, list) else []

        def held(number: int, widget: Input) -> Any:
            if isinstance(saved, dict):
                return saved.get(widget.name, widget.default())
            return rows[number] if number < len(rows) else widget.default()

        fields = enumerate(kind.fields(held))
        return {w.name: _sent(w, held(number, w)) for number, w in fields if w is not None}

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


def _sent(widget: Input, value: Any) -> Any:
    """A field's value as the page sends it."""
    dynamic = widget.options.get("dynamicPrompts") and isinstance(value, str)
    return first_choice(value) if dynamic else value


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


def _wrap(value: Any) -> Any:
    """A list is a link in API form, so a value that is a list travels in a wrapper."""
    return {"__value__": value} if isinstance(value, list) else value

"""Conversion of a saved workflow to API form, as the page does it when the user presses Run.

Subgraphs are expanded (``parent:child`` ids). Links are followed through reroutes and bypassed
nodes. Muted nodes and nodes that exist only in the page are omitted. ``widgets_values`` become
named inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, TypeAlias

from ..errors.bilingual import Bilingual
from .dynamic_prompts import first_choice
from .findings import Findings
from .inputs import Input
from .json_values import JsonList, JsonObject, is_list, is_object
from .knowledge import Knowledge, NodeClass
from .link_resolution import AlreadyReported, GraphInstance, LinkResolver, Output, Value
from .shape_findings import NO_NODE, NODE_ID
from .workflow import BYPASS, NEVER, PAGE_ONLY, Node, Workflow

Prompt: TypeAlias = dict[str, JsonObject]
Unsent: TypeAlias = dict[tuple[str, str], str]

MAX_DEPTH = 64
"""Maximum depth of subgraphs within subgraphs."""
MAX_NODES = 50_000
"""Maximum number of nodes after expansion; subgraphs that use each other multiply them."""
_WHY_EMPTY = {
    "page only": Bilingual(
        "{count} 个只在页面上（便签、转接点等）", "{count} only on the page (notes, reroutes)"
    ),
    "muted": Bilingual("{count} 个被静音", "{count} muted"),
    "bypassed": Bilingual("{count} 个被绕过", "{count} bypassed"),
    "subgraph": Bilingual("{count} 个是空的子图", "{count} empty subgraphs"),
}


class Converter:
    """Converts one workflow. It collects findings and raises nothing.

    Attributes:
        prompt: The result.
        sent: The nodes in the result, with their ids there.
        unsent: Linked inputs (node and name) that get no value, with the title of the muted node
            that they are linked to. The title is empty if the reason has been reported.
    """

    def __init__(self, workflow: Workflow, knowledge: Knowledge, findings: Findings) -> None:
        """Prepare the conversion of a workflow with the node classes of a host."""
        self.workflow = workflow
        self.knowledge = knowledge
        self.findings = findings
        self.prompt: Prompt = {}
        self.sent: list[tuple[str, Node]] = []
        self.unsent: Unsent = {}
        self._instances: dict[str, GraphInstance] = {}
        self._nodes: dict[str, Node] = {}
        self._fields: dict[str, dict[str, Any]] = {}
        self._resolver = LinkResolver(self._instances, findings)
        self._reported_nested: set[str] = set()
        self._reported_too_large = False

    def run(self) -> Prompt:
        """Return the prompt. Its nodes are in the order of the file, not of execution."""
        nodes = list(self._expand(GraphInstance(self.workflow.root)))
        for instance, node in nodes:
            if node.type == "PrimitiveNode":
                self._apply_primitive(instance, node)
        for instance, node in nodes:
            if node.mode in (NEVER, BYPASS) or node.type in PAGE_ONLY:
                continue
            if node.type not in self.workflow.subgraphs:
                node_id = instance.prefix + node.id
                self.prompt[node_id] = self._api_node(instance, node)
                self.sent.append((node_id, node))
        for node_id, entry in self.prompt.items():
            self._drop_links_to_omitted(node_id, entry["inputs"])
        return self.prompt

    def why_empty(self) -> Bilingual:
        """Return why the prompt has no nodes."""
        if not self._nodes:
            return NO_NODE
        counts = Counter(_why_omitted(node) for node in self._nodes.values())
        reasons = [
            text.format(count=counts[reason])
            for reason, text in _WHY_EMPTY.items()
            if counts[reason]
        ]
        chinese = "，".join(text.chinese for text in reasons)
        english = ", ".join(text.english for text in reasons)
        count = len(self._nodes)
        return Bilingual(f"{count} 个节点中，{chinese}", f"of {count} nodes, {english}")

    # --- subgraphs ------------------------------------------------------------------------

    def _expand(self, instance: GraphInstance) -> Iterator[tuple[GraphInstance, Node]]:
        """Yield every node with its graph, muted subgraphs included, as the page does."""
        self._instances[instance.prefix] = instance
        for node in instance.graph.nodes.values():
            node_id = instance.prefix + node.id
            if self._reported_too_large or len(self._nodes) >= MAX_NODES:
                self._report_too_large(Bilingual(f"{MAX_NODES} 个节点", f"{MAX_NODES} nodes"))
                return
            if node_id in self._nodes:  # e.g. a root node "1:3", and node 3 of the subgraph 1
                self.findings.add(
                    "ZI-WF-DUPLICATE",
                    node_id,
                    node.title,
                    value=node_id,
                    kind=NODE_ID,
                )
                continue
            self._nodes[node_id] = node
            self._fields[node_id] = self._field_values(node)
            yield instance, node
            inner = self._inner_instance(instance, node)
            if inner is not None:
                yield from self._expand(inner)

    def _inner_instance(self, instance: GraphInstance, node: Node) -> GraphInstance | None:
        """Return the graph of a subgraph's node, unless it contains itself or is too deep."""
        graph = self.workflow.subgraphs.get(node.type)
        if graph is None:
            return None
        node_id = instance.prefix + node.id
        if instance.is_within(graph):
            if node.type not in self._reported_nested:
                self._reported_nested.add(node.type)
                self.findings.add("ZI-WF-NESTED", node_id, node.title)
            return None
        if instance.depth >= MAX_DEPTH:
            self._report_too_large(
                Bilingual(f"{MAX_DEPTH} 层子图", f"{MAX_DEPTH} subgraphs within each other")
            )
            return None
        return GraphInstance(graph, f"{node_id}:", instance, node)

    def _report_too_large(self, maximum: Bilingual) -> None:
        if not self._reported_too_large:
            self._reported_too_large = True
            self.findings.add("ZI-WF-LARGE", maximum=maximum)

    # --- inputs ---------------------------------------------------------------------------

    def _api_node(self, instance: GraphInstance, node: Node) -> JsonObject:
        node_class = self.knowledge.get(node.type)
        node_id = instance.prefix + node.id
        inputs = {name: _wrap(value) for name, value in self._fields[node_id].items()}
        for position, slot in enumerate(node.inputs):
            source = self._resolver.source(instance, node, position)
            if isinstance(source, Value):
                inputs[slot.name] = _wrap(source.value)
            elif isinstance(source, Output):
                inputs[slot.name] = [source.node, source.slot]
            elif isinstance(source, AlreadyReported):
                self.unsent[node_id, slot.name] = ""
        title = node.title
        if node_class is not None and title == node.type:
            title = node_class.title
        return {"inputs": inputs, "class_type": node.type, "_meta": {"title": title}}

    def _drop_links_to_omitted(self, node_id: str, inputs: dict[str, Any]) -> None:
        for name, value in list(inputs.items()):
            if is_list(value) and len(value) == 2 and value[0] not in self.prompt:
                del inputs[name]
                origin = self._nodes.get(value[0])
                if origin is not None and origin.mode == NEVER:
                    self.unsent[node_id, name] = origin.title or value[0]

    # --- fields ---------------------------------------------------------------------------

    def _field_values(self, node: Node) -> dict[str, Any]:
        """Return the values of a node's fields, by name."""
        node_class = self.knowledge.get(node.type)
        if node_class is None:
            return {}
        saved = node.values
        values = _without_forced(node_class, saved) if is_list(saved) else []

        # Which fields a node has can depend on values, so NodeClass.fields asks for them, too.
        def value_of(position: int, widget: Input) -> Any:
            if is_object(saved):
                return saved.get(widget.name, widget.default())
            return values[position] if position < len(values) else widget.default()

        return {
            widget.name: _sent_value(widget, value_of(position, widget))
            for position, widget in enumerate(node_class.fields(value_of))
            if widget is not None
        }

    def _apply_primitive(self, instance: GraphInstance, node: Node) -> None:
        """Write the value of a primitive node into the fields that it is linked to."""
        if not is_list(node.values) or not node.values:
            return
        for link in instance.graph.links_from.get(node.id, ()):
            target = instance.graph.nodes.get(link.target)
            if target and 0 <= link.target_slot < len(target.inputs):
                fields = self._fields.get(instance.prefix + target.id, {})
                name = target.inputs[link.target_slot].name
                if name in fields:
                    fields[name] = node.values[0]


def _why_omitted(node: Node) -> str:
    """Return the key in :data:`_WHY_EMPTY` for a node that is not in the prompt."""
    if node.type in PAGE_ONLY:
        return "page only"
    if node.mode == NEVER:
        return "muted"
    if node.mode == BYPASS:
        return "bypassed"
    return "subgraph"


def _sent_value(widget: Input, value: Any) -> Any:
    """Return the value of a field as the page sends it."""
    is_dynamic = widget.options.get("dynamicPrompts") and isinstance(value, str)
    return first_choice(value) if is_dynamic else value


def _without_forced(node_class: NodeClass, saved: JsonList) -> JsonList:
    """Return saved values without those of inputs that became sockets after the file was saved.

    The page recognises such files by their number of values: an input with "control after generate"
    has two. When it then drops values, the page assumes one value for each input. This is wrong
    after such an input, but this function does the same, so that results are equal.
    """
    entries = [
        entry
        for entry in node_class.inputs.values()
        if entry.is_widget or entry.options.get("forceInput")
    ]
    length = sum(2 if entry.had_control_widget else 1 for entry in entries)
    if length != len(saved):
        return saved
    forced = [bool(entry.options.get("forceInput")) for entry in entries]
    return [value for value, drop in zip_longest(saved, forced, fillvalue=False) if not drop]


def _wrap(value: Any) -> Any:
    """Return a value for API form. Lists are wrapped, because a list there is a link."""
    return {"__value__": value} if is_list(value) else value

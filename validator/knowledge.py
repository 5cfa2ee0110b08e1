"""The node classes of a ComfyUI, as ``/object_info`` describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import dynamic_inputs
from .inputs import ANY, UPLOADS, Input, is_dynamic, parse_inputs
from .json_values import JsonObject, as_list, as_object, is_list, is_object

CORE = ("nodes", "comfy_extras", "comfy_api_nodes")
"""Python modules that come with ComfyUI. Packs are in ``custom_nodes``."""


@dataclass(frozen=True)
class NodeClass:
    """A node class.

    Attributes:
        name: The name in ``class_type``.
        inputs: The inputs by name, in order.
        outputs: The types of the outputs.
        is_output: Whether it is an output node.
        title: The name in the page.
        module: The Python module that the host loaded it from. Empty if it is not known.
        hidden: The inputs that the host fills in itself.
    """

    name: str
    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    is_output: bool = False
    title: str = ""
    module: str = ""
    hidden: frozenset[str] = frozenset()

    @property
    def is_core(self) -> bool:
        """Whether it comes with ComfyUI itself."""
        return self.module.partition(".")[0] in CORE

    def inputs_for(self, given: Mapping[str, Any]) -> dict[str, Input]:
        """Return the inputs of a node with these values, which decide on dynamic inputs."""
        if not any(entry.dynamic for entry in self.inputs.values()):
            return self.inputs
        return dynamic_inputs.expand(self.inputs, given)

    @cached_property
    def widgets(self) -> list[Input | None]:
        """The fields of a new node, see :meth:`fields`."""
        return self.fields(lambda _, entry: entry.default())

    def fields(self, value_of: Callable[[int, Input], Any]) -> list[Input | None]:
        """Return the fields in the order of ``widgets_values``.

        None stands for a field that is never sent. The fields of a choice's entry follow the
        choice, where the page inserts them.

        Args:
            value_of: Returns the value of a field, from its position and its input.
        """
        fields: list[Input | None] = []
        uploads = 0
        stack = list(self.inputs.values())[::-1]
        limit = len(stack) + dynamic_inputs.LIMIT
        while stack and len(fields) < 2 * limit:
            entry = stack.pop()
            if not entry.is_widget:
                continue
            if entry.dynamic:
                value = value_of(len(fields), entry)
                stack += reversed(dynamic_inputs.chosen_parts(entry, value))
            fields.append(entry)
            if entry.has_control_widget:
                fields.append(None)
            uploads += any(entry.options.get(name) for name in UPLOADS)
        return fields + [None] * uploads


class Knowledge:
    """All node classes of a host, by name."""

    def __init__(self, document: JsonObject) -> None:
        """Read the node classes.

        Args:
            document: The response of ``/object_info``. Entries of another shape are skipped.
        """
        self.node_classes: dict[str, NodeClass] = {}
        for name, entry in document.items():
            if is_object(entry) and is_object(entry.get("input")):
                self.node_classes[name] = _parse_class(name, entry)

    def get(self, name: object) -> NodeClass | None:
        """Return the class of that name, if the host has it."""
        return self.node_classes.get(name) if isinstance(name, str) else None

    def names(self) -> Iterable[str]:
        """Return the names of all classes."""
        return self.node_classes


def _parse_class(name: str, entry: JsonObject) -> NodeClass:
    return NodeClass(
        name=name,
        inputs=parse_inputs(entry["input"]),
        outputs=tuple(map(_output_type, as_list(entry.get("output")))),
        is_output=bool(entry.get("output_node")),
        title=str(entry.get("display_name") or name),
        module=str(entry.get("python_module") or ""),
        hidden=frozenset(as_object(entry["input"].get("hidden"))),
    )


def _output_type(type_name: object) -> str:
    if is_list(type_name):
        return "COMBO"
    return ANY if is_dynamic(str(type_name)) else str(type_name)


def fits(output_type: str, accepted: frozenset[str]) -> bool:
    """Return whether an output may be linked to an input: ``*``, or one type in common."""
    output_types = {part.strip() for part in output_type.split(",")}
    return ANY in accepted or ANY in output_types or bool(output_types & accepted)


def connects(first: str, second: str) -> bool:
    """Return whether the page allows a link between two types. It ignores their case."""
    if first in (ANY, "") or second in (ANY, "") or first == second:
        return True
    return bool(set(first.lower().split(",")) & set(second.lower().split(",")))

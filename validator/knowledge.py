"""What a ComfyUI says about its nodes (``/object_info``), as records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import dynamic_inputs
from .inputs import ANY, UPLOADS, Input, is_dynamic, parse_inputs, table

CORE = ("nodes", "comfy_extras", "comfy_api_nodes")
"""Modules that come with ComfyUI; packs are in ``custom_nodes``."""


@dataclass(frozen=True)
class Kind:
    """A node class: its inputs in order, the types of its outputs, whether it is an output.

    ``module`` is where the host has it from, empty when that is not known; ``hidden`` are inputs
    that the host fills in itself.
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
        """True for what comes with ComfyUI itself."""
        return self.module.partition(".")[0] in CORE

    def inputs_for(self, given: Mapping[str, Any]) -> dict[str, Input]:
        """The inputs of a node that holds ``given``; dynamic ones depend on what is there."""
        if not any(entry.dynamic for entry in self.inputs.values()):
            return self.inputs
        return dynamic_inputs.expand(self.inputs, given)

    @cached_property
    def widgets(self) -> list[Input | None]:
        """The fields of a new node, see :meth:`fields`."""
        return self.fields(lambda _, entry: entry.default())

    def fields(self, held: Callable[[int, Input], Any]) -> list[Input | None]:
        """Fields in the order of ``widgets_values``; None stands for one that is never sent.

        The fields of a choice's entry follow the choice, as the page inserts them.

        Args:
            held: the value of a field, by its place and what it is.
        """
        fields: list[Input | None] = []
        uploads = 0
        waiting = list(self.inputs.values())[::-1]
        most = len(waiting) + dynamic_inputs.LIMIT
        while waiting and len(fields) < 2 * most:
            entry = waiting.pop()
            if not entry.is_widget:
                continue
            if entry.dynamic:
                waiting += reversed(dynamic_inputs.chosen(entry, held(len(fields), entry)))
            fields.append(entry)
            if entry.has_control:
                fields.append(None)
            uploads += any(entry.options.get(name) for name in UPLOADS)
        return fields + [None] * uploads


class Knowledge:
    """All node classes of a host, by name.

    Args:
        document: the answer of ``/object_info``; entries that are not as documented are left out.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.kinds: dict[str, Kind] = {}
        for name, entry in document.items():
            if isinstance(entry, dict) and isinstance(entry.get("input"), dict):
                self.kinds[name] = _kind(name, entry)

    def get(self, name: object) -> Kind | None:
        """The class of that name, if the host has it."""
        return self.kinds.get(name) if isinstance(name, str) else None

    def names(self) -> Iterable[str]:
        """The names of all classes."""
        return self.kinds


def _kind(name: str, entry: dict[str, Any]) -> Kind:
    output = entry.get("output")
    return Kind(
        name, parse_inputs(entry["input"]),
        tuple(map(_type_name, output if isinstance(output, list) else ())),
        bool(entry.get("output_node")), str(entry.get("display_name") or name),
        str(entry.get("python_module") or ""), frozenset(table(entry["input"].get("hidden"))),
    )  # fmt: skip


def _type_name(kind: object) -> str:
    if isinstance(kind, list):
        return "COMBO"
    return ANY if is_dynamic(str(kind)) else str(kind)


def fits(given: str, accepted: frozenset[str]) -> bool:
    """Whether an output type may be linked to an input: ``*`` on either side, or one in common."""
    offered = {part.strip() for part in given.split(",")}
    return ANY in accepted or ANY in offered or bool(offered & accepted)


def connects(one: str, other: str) -> bool:
    """Whether the page lets a user draw a link between two types; it ignores their case."""
    if one in (ANY, "") or other in (ANY, "") or one == other:
        return True
    return bool(set(one.lower().split(",")) & set(other.lower().split(",")))

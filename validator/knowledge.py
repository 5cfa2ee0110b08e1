"""What a ComfyUI says about its nodes (``/object_info``), as records."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

WIDGETS = frozenset(
    {"INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "MARKDOWN", "COLOR", "TEXTAREA"}
    | {"IMAGEUPLOAD", "AUDIOUPLOAD", "VIDEOUPLOAD"}
)
"""Input types that the page draws as a field of the node; every other type is a socket only."""
UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
ANY = "*"


@dataclass(frozen=True)
class Input:
    """One input of a node.

    Attributes:
        types: accepted types; ``COMBO`` for a choice, ``*`` for anything.
        choices: the values of a choice, None when they are not known (a list loaded later).
        options: ``default``, ``min``, ``max`` … as the host gives them.
    """

    name: str
    types: frozenset[str]
    required: bool
    choices: tuple[Any, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_widget(self) -> bool:
        """True when the page gives it a field and so a place in ``widgets_values``."""
        return bool(self.types & WIDGETS) and not self.options.get("forceInput")

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest number; infinite where the host states none."""
        return (
            _number(self.options.get("min"), -math.inf),
            _number(self.options.get("max"), math.inf),
        )

    @property
    def has_control(self) -> bool:
        """True when "control after generate" follows it in ``widgets_values``."""
        chosen = self.options.get("control_after_generate")
        if chosen is not None:
            return bool(chosen)
        return self.name in ("seed", "noise_seed") and "INT" in self.types

    def default(self) -> Any:
        """What a new node of the page holds."""
        if "default" in self.options:
            return self.options["default"]
        if self.choices is not None:
            return self.choices[0] if self.choices else None
        kind = next(iter(self.types & WIDGETS), "")
        return {"INT": 0, "FLOAT": 0, "BOOLEAN": False, "STRING": ""}.get(kind)


@dataclass(frozen=True)
class Kind:
    """A node class: its inputs in order, the types of its outputs, whether it is an output."""

    name: str
    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    is_output: bool = False
    title: str = ""

    def widgets(self) -> list[Input | None]:
        """Fields in the order of ``widgets_values``; None stands for one that is never sent."""
        fields: list[Input | None] = []
        uploads = 0
        for entry in self.inputs.values():
            if not entry.is_widget:
                continue
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


def _kind(name: str, entry: dict[str, Any]) -> Kind:
    inputs: dict[str, Input] = {}
    for group in ("required", "optional"):
        for key, spec in _table(entry["input"].get(group)).items():
            found = _input(key, spec, required=group == "required")
            if found is not None:
                inputs[key] = found
    output = entry.get("output")
    return Kind(
        name, inputs, tuple(map(_type_name, output if isinstance(output, list) else ())),
        bool(entry.get("output_node")), str(entry.get("display_name") or name),
    )  # fmt: skip


def _number(value: Any, otherwise: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number else otherwise


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _type_name(kind: object) -> str:
    return "COMBO" if isinstance(kind, list) else str(kind)


def _input(name: str, spec: object, *, required: bool) -> Input | None:
    if not isinstance(spec, list) or not spec:
        return None
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    kind = spec[0]
    if isinstance(kind, list):  # the older way to write a choice
        return Input(name, frozenset({"COMBO"}), required, tuple(kind), options)
    types = frozenset(part.strip() for part in str(kind).split(","))
    choices = None
    if "COMBO" in types and isinstance(options.get("options"), list) and not options.get("remote"):
        choices = tuple(options["options"])
    return Input(name, types, required, choices, options)


def fits(given: str, accepted: frozenset[str]) -> bool:
    """Whether an output type may be linked to an input: ``*`` on either side, or one in common."""
    offered = {part.strip() for part in given.split(",")}
    return ANY in accepted or ANY in offered or bool(offered & accepted)

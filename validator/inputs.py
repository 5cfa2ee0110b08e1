"""One input of a node class, as ``/object_info`` describes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .json_values import JsonList, JsonObject, as_object, is_list, is_number, is_object, objects_in

LIVE = frozenset({"AUDIO_RECORD", "WEBCAM", "LOAD_3D"})
"""Types of fields whose value the page makes when it sends the prompt: sound, picture, 3D scene."""
WIDGETS = LIVE | {
    "INT",
    "FLOAT",
    "BOOLEAN",
    "STRING",
    "COMBO",
    "MARKDOWN",
    "COLOR",
    "TEXTAREA",
    "IMAGEUPLOAD",
    "AUDIOUPLOAD",
    "VIDEOUPLOAD",
}
"""Input types that the page draws as a field of the node. Every other type is only a socket."""
UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
"""Options of a choice whose values are uploaded files."""
ANY = "*"
AUTOGROW = "COMFY_AUTOGROW_V3"
"""The type of a list of inputs that grows."""
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
"""The type of a choice that determines which other inputs the node has."""
MATCH_TYPE = "COMFY_MATCHTYPE_V3"
"""The type of an input that takes the same type as other inputs of the node."""
_SEED_NAMES = ("seed", "noise_seed")
_DEFAULTS: dict[str, Any] = {
    "INT": 0,
    "FLOAT": 0,
    "BOOLEAN": False,
    "STRING": "",
    **dict.fromkeys(LIVE, ""),
}
"""The value of a new field by type, if the host states no default."""


@dataclass(frozen=True)
class Input:
    """One input of a node class.

    Attributes:
        name: The name in the prompt.
        types: The accepted types: ``COMBO`` for a choice, ``*`` for any type.
        required: Whether a prompt must have it.
        choices: The values of a choice. None if they are not known, such as a list that is loaded
            later.
        options: ``default``, ``min``, ``max`` and others as the host gives them.
        dynamic: The type of an input that stands for several, see :mod:`.dynamic_inputs`.
            Empty for other inputs.
        matched: The types of an input that takes the same type as others, see
            :mod:`.template_types`.
    """

    name: str
    types: frozenset[str]
    required: bool
    choices: tuple[Any, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    dynamic: str = ""
    matched: frozenset[str] = frozenset()

    @property
    def is_widget(self) -> bool:
        """Whether the page draws a field for it, whose value ``widgets_values`` has."""
        if self.options.get("forceInput"):
            return False
        if self.dynamic == DYNAMIC_COMBO:
            return True
        return self._field_type in WIDGETS

    @property
    def _field_type(self) -> str:
        """The type that decides about a field. Empty for a union of types, which is a socket."""
        widget_type = self.options.get("widgetType")  # it gives a union a field
        if isinstance(widget_type, str):
            return widget_type
        return next(iter(self.types)) if len(self.types) == 1 else ""

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest accepted number; infinite if the host states no limit."""
        low, high = self.options.get("min"), self.options.get("max")
        return (low if is_number(low) else -math.inf, high if is_number(high) else math.inf)

    @property
    def has_control_widget(self) -> bool:
        """Whether "control after generate" follows it in ``widgets_values``."""
        option = self.options.get("control_after_generate")
        if option is not None:
            return bool(option)
        return self.name in _SEED_NAMES and "INT" in self.types

    @property
    def had_control_widget(self) -> bool:
        """Whether "control after generate" followed it in older files of the page.

        It is for an input that was a field when the file was saved and is a socket now. The page
        ignores an option that is false here, unlike in :attr:`has_control_widget`.
        """
        return bool(self.options.get("control_after_generate")) or self.name in _SEED_NAMES

    def default(self) -> Any:
        """Return the value of the field in a new node, None if the page leaves it empty."""
        if "default" in self.options:
            return self.options["default"]
        if self.choices is not None:
            return self.choices[0] if self.choices else None
        return _DEFAULTS.get(self._field_type)


def parse_input(name: str, spec: object, *, required: bool) -> Input | None:
    """Return the input that ``[type, options]`` describes, or None for any other value.

    Args:
        name: the name in the prompt.
        spec: the entry in ``/object_info``. Options are optional.
        required: whether the entry is in the group ``required``.
    """
    if not is_list(spec) or not spec:
        return None
    options = _parse_options(spec, required)
    if is_list(spec[0]):  # the older notation for a choice
        return Input(name, frozenset({"COMBO"}), required, tuple(spec[0]), options=options)
    type_name = str(spec[0])
    if type_name == DYNAMIC_COMBO:
        keys = tuple(row.get("key") for row in objects_in(options.get("options")))
        return Input(name, frozenset({"COMBO"}), required, keys, options=options, dynamic=type_name)
    if type_name == MATCH_TYPE:
        allowed = as_object(options.get("template")).get("allowed_types")
        matched = _split_types(allowed if isinstance(allowed, str) else ANY)
        return Input(name, frozenset({ANY}), required, options=options, matched=matched)
    if is_dynamic(type_name):
        return Input(name, frozenset({ANY}), required, options=options, dynamic=type_name)
    types = _split_types(type_name)
    choices: tuple[Any, ...] | None = None
    if "COMBO" in types and is_list(options.get("options")) and not options.get("remote"):
        choices = tuple(options["options"])
    return Input(name, types, required, choices, options=options)


def parse_inputs(groups: object) -> dict[str, Input]:
    """Return inputs by name from ``{"required": {…}, "optional": {…}}``, required ones first."""
    inputs: dict[str, Input] = {}
    for group in ("required", "optional"):
        for name, spec in as_object(as_object(groups).get(group)).items():
            entry = parse_input(name, spec, required=group == "required")
            if entry is not None:
                inputs[name] = entry
    return inputs


def is_dynamic(type_name: str) -> bool:
    """Return whether a type stands for inputs of other types, also one of a newer host."""
    return type_name.startswith("COMFY_") and type_name.endswith("_V3")


def _parse_options(spec: JsonList, required: bool) -> JsonObject:
    """Return the options of ``[type, options]``, with ``forceInput`` for its older name.

    The page reads the older ``defaultInput`` of an optional input only.
    """
    options = spec[1] if len(spec) > 1 and is_object(spec[1]) else {}
    if options.get("defaultInput") and not required:
        return {**options, "forceInput": True}
    return options


def _split_types(text: str) -> frozenset[str]:
    """Return the types of a union, such as ``"INT,FLOAT"``."""
    return frozenset(part.strip() for part in text.split(","))

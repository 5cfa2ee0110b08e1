"""One input of a node class, as ``/object_info`` describes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .json_values import JsonList, JsonObject, as_object, is_list, is_number, is_object, objects_in

LIVE = frozenset({"AUDIO_RECORD", "WEBCAM", "LOAD_3D"})
"""Types of fields that the page fills while it sends: a microphone, a camera, a scene."""
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
ANY = "*"
AUTOGROW = "COMFY_AUTOGROW_V3"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
MATCH_TYPE = "COMFY_MATCHTYPE_V3"
_SEED_NAMES = ("seed", "noise_seed")
_DEFAULTS: dict[str, Any] = {
    "INT": 0,
    "FLOAT": 0,
    "BOOLEAN": False,
    "STRING": "",
    **dict.fromkeys(LIVE, ""),
}


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
        """Whether the page gives it a field, and so a place in ``widgets_values``."""
        if self.options.get("forceInput"):
            return False
        if self.dynamic == DYNAMIC_COMBO:
            return True
        widget_type = self.options.get("widgetType")  # given for unions, which are sockets
        types = frozenset({widget_type}) if isinstance(widget_type, str) else self.types
        return len(types) == 1 and types <= WIDGETS

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest number, infinite if the host states none."""
        low, high = self.options.get("min"), self.options.get("max")
        return (low if is_number(low) else -math.inf, high if is_number(high) else math.inf)

    @property
    def has_control(self) -> bool:
        """Whether "control after generate" follows it in ``widgets_values``."""
        option = self.options.get("control_after_generate")
        if option is not None:
            return bool(option)
        return self.name in _SEED_NAMES and "INT" in self.types

    @property
    def had_control(self) -> bool:
        """Whether "control after generate" followed it when the page still drew it as a field."""
        return bool(self.options.get("control_after_generate")) or self.name in _SEED_NAMES

    def default(self) -> Any:
        """Return the value in a new node of the page."""
        if "default" in self.options:
            return self.options["default"]
        if self.dynamic == DYNAMIC_COMBO:
            return next((row.get("key") for row in objects_in(self.options.get("options"))), None)
        if self.choices is not None:
            return self.choices[0] if self.choices else None
        return _DEFAULTS.get(next(iter(self.types & WIDGETS), ""))


def parse_input(name: str, spec: object, *, required: bool) -> Input | None:
    """Return an input from ``[type, options]``, or None for a value of another shape."""
    if not is_list(spec) or not spec:
        return None
    options = _parse_options(spec, required)
    if is_list(spec[0]):  # the older notation for a choice
        return Input(name, frozenset({"COMBO"}), required, tuple(spec[0]), options)
    type_name = str(spec[0])
    if type_name == DYNAMIC_COMBO:
        keys = tuple(row.get("key") for row in objects_in(options.get("options")))
        return Input(name, frozenset({"COMBO"}), required, keys, options, type_name)
    if type_name == MATCH_TYPE:
        allowed = as_object(options.get("template")).get("allowed_types")
        matched = _split_types(allowed if isinstance(allowed, str) else ANY)
        return Input(name, frozenset({ANY}), required, None, options, matched=matched)
    if is_dynamic(type_name):
        return Input(name, frozenset({ANY}), required, None, options, type_name)
    types = _split_types(type_name)
    choices: tuple[Any, ...] | None = None
    if "COMBO" in types and is_list(options.get("options")) and not options.get("remote"):
        choices = tuple(options["options"])
    return Input(name, types, required, choices, options)


def parse_inputs(groups: object) -> dict[str, Input]:
    """Return inputs by name from ``{"required": {…}, "optional": {…}}``, in that order."""
    inputs: dict[str, Input] = {}
    for group in ("required", "optional"):
        for name, spec in as_object(as_object(groups).get(group)).items():
            entry = parse_input(name, spec, required=group == "required")
            if entry is not None:
                inputs[name] = entry
    return inputs


def is_dynamic(type_name: str) -> bool:
    """Return whether a type only describes other types. Newer hosts have more of these."""
    return type_name.startswith("COMFY_") and type_name.endswith("_V3")


def _parse_options(spec: JsonList, required: bool) -> JsonObject:
    options = spec[1] if len(spec) > 1 and is_object(spec[1]) else {}
    if options.get("defaultInput") and not required:
        return {**options, "forceInput": True}  # the newer name of the option
    return options


def _split_types(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(","))

"""One input of a node class, as ``/object_info`` describes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

LIVE = frozenset({"AUDIO_RECORD", "WEBCAM", "LOAD_3D"})
"""Fields that the page fills while it sends: a microphone, a camera, a scene."""
WIDGETS = LIVE | {
    "INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "MARKDOWN", "COLOR", "TEXTAREA",
    "IMAGEUPLOAD", "AUDIOUPLOAD", "VIDEOUPLOAD",
}  # fmt: skip
"""Input types that the page draws as a field of the node; every other type is a socket only."""
UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
ANY = "*"
AUTOGROW = "COMFY_AUTOGROW_V3"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
MATCHED = "COMFY_MATCHTYPE_V3"
_NEW = {"INT": 0, "FLOAT": 0, "BOOLEAN": False, "STRING": "", **dict.fromkeys(LIVE, "")}


@dataclass(frozen=True)
class Input:
    """One input of a node.

    Attributes:
        types: accepted types; ``COMBO`` for a choice, ``*`` for anything.
        choices: the values of a choice, None when they are not known (a list loaded later).
        options: ``default``, ``min``, ``max`` … as the host gives them.
        dynamic: the type of an input that stands for several, see
            :mod:`.dynamic_inputs`; else empty.
        matched: types of an input that takes the same one as others, see
            :mod:`.template_types`.
    """

    name: str
    types: frozenset[str]
    required: bool
    choices: tuple[Any, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    dynamic: str = ""
    matched: frozenset[str] = frozenset()

    @property
    def is_widget(self) -> bool:
        """True when the page gives it a field and so a place in ``widgets_values``."""
        if self.options.get("forceInput"):
            return False
        if self.dynamic == DYNAMIC_COMBO:
            return True
        named = self.options.get("widgetType")  # of a union, which is a socket otherwise
        kinds = frozenset({named}) if isinstance(named, str) else self.types
        return len(kinds) == 1 and kinds <= WIDGETS

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
        if self.dynamic == DYNAMIC_COMBO:
            return next((row.get("key") for row in rows(self.options.get("options"))), None)
        if self.choices is not None:
            return self.choices[0] if self.choices else None
        return _NEW.get(next(iter(self.types & WIDGETS), ""))


def parse_input(name: str, spec: object, *, required: bool) -> Input | None:
    """An input from ``[type, options]``; None for what is not of that shape."""
    if not isinstance(spec, list) or not spec:
        return None
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    if options.get("defaultInput") and not required:
        options = {**options, "forceInput": True}  # its older name
    kind = spec[0]
    if isinstance(kind, list):  # the older way to write a choice
        return Input(name, frozenset({"COMBO"}), required, tuple(kind), options)
    kind = str(kind)
    if kind == DYNAMIC_COMBO:
        keys = tuple(row.get("key") for row in rows(options.get("options")))
        return Input(name, frozenset({"COMBO"}), required, keys, options, kind)
    if kind == MATCHED:
        allowed = table(options.get("template")).get("allowed_types")
        matched = _types(allowed if isinstance(allowed, str) else ANY)
        return Input(name, frozenset({ANY}), required, None, options, matched=matched)
    if is_dynamic(kind):
        return Input(name, frozenset({ANY}), required, None, options, kind)
    choices = None
    types = _types(kind)
    if "COMBO" in types and isinstance(options.get("options"), list) and not options.get("remote"):
        choices = tuple(options["options"])
    return Input(name, types, required, choices, options)


def parse_inputs(groups: object) -> dict[str, Input]:
    """Inputs by name from ``{"required": {…}, "optional": {…}}``, in that order."""
    found: dict[str, Input] = {}
    for group in ("required", "optional"):
        for name, spec in table(table(groups).get(group)).items():
            entry = parse_input(name, spec, required=group == "required")
            if entry is not None:
                found[name] = entry
    return found


def is_dynamic(kind: str) -> bool:
    """Types that only describe other types; newer hosts have more of them."""
    return kind.startswith("COMFY_") and kind.endswith("_V3")


def table(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[dict[str, Any]]:
    """The objects in a list; nothing of anything else."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _types(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(","))


def _number(value: Any, otherwise: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number else otherwise

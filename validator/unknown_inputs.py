"""Inputs of a prompt that the node class does not have: the host hands none of them on."""

from __future__ import annotations

import re

from .advice import ours
from .inputs import DYNAMIC_COMBO
from .knowledge import Kind
from .prompt_context import Subject, is_link

HIDDEN = frozenset(
    {"unique_id", "prompt", "extra_pnginfo", "dynprompt", "auth_token", "api_key"}
    | {"auth_token_comfy_org", "api_key_comfy_org"}
)
"""What the host fills in itself; the stored node classes do not say which of them have it."""
DRAWN = frozenset(
    {"upload", "choose file to upload", "choose folder to upload", "refresh", "audioUI"}
    | {"control_after_generate", "control_before_generate", "control_filter_list"}
    | {"preview", "preview_text", "preview_markdown", "previewMode", "speak_and_recognation"}
)
"""Fields that the page and well-known packs draw on nodes for themselves, and send."""


def tell(subject: Subject, number: str) -> None:
    """A warning for each: with the input that was probably meant, if that one is not given."""
    given, known = subject.given(number), subject.inputs(number)
    if given.keys() <= known.keys():
        return
    kind = subject.kinds[number]
    open_ones = [name for name in known if name not in given]
    fixed = kind.is_core or kind.name in ours()
    for name, value in given.items():
        stem = _stem(kind, name)
        unknown = name not in known and name not in kind.hidden and name not in HIDDEN
        if not unknown or _is_drawn(kind, name) or stem not in ("", DYNAMIC_COMBO):
            continue
        meant = subject.similar.find(f"{kind.name} {open_ones}", name, open_ones)
        if meant and (fixed or not _counted(name, meant)):
            subject.tell("ZI-WF-INPUT-UNKNOWN", number, name, "warning", similar=meant,
                         value=kind.name)  # fmt: skip
        elif fixed and not (stem or _says_nothing(subject, value)):
            subject.tell("ZI-WF-INPUT-UNKNOWN", number, name, "warning", value=kind.name)


def _is_drawn(kind: Kind, name: str) -> bool:
    """A field of the page; nodes that show a scene also send a picture of it."""
    return name in DRAWN or (name == "image" and "3D" in kind.name)


def _says_nothing(subject: Subject, value: object) -> bool:
    """A button of the page, or a link to nowhere, which is told as such."""
    return value in ("", None) or (is_link(value) and value[0] not in subject.prompt)


def _stem(kind: Kind, name: str) -> str:
    """The type of the input that this would be a part of; hosts differ in which parts there are."""
    for entry in kind.inputs.values():
        if entry.dynamic and (name.startswith(f"{entry.name}.") or f"_${entry.name}_" in name):
            return entry.dynamic
    return ""


def _counted(name: str, meant: str) -> bool:
    """``image2`` is another input than ``image1``: packs may take any number of them."""
    return re.sub(r"[\d_]+", "", name) == re.sub(r"[\d_]+", "", meant)

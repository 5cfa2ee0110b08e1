"""Rules for what is written in a field: numbers, choices, files, texts."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from ..errors import ZImageError
from ..text import prompt_rules
from .bounds import SIDES, is_own, makes_pictures
from .inputs import UPLOADS, Input
from .prompt_context import Subject

MODELS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".gguf", ".onnx", ".pkl")
UNSAFE = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl")
LARGEST = 16384
"""Pixels on a side that no node can work with; new pictures are held to fewer, see ``bounds``."""


def check(subject: Subject, number: str, entry: Input, value: Any) -> None:
    """Every rule for one value."""
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    if "COMBO" in entry.types:
        _choice(subject, number, entry, value)
        return
    kind = next((name for name in ("INT", "FLOAT", "STRING") if name in entry.types), None)
    if kind in ("INT", "FLOAT"):
        _amount(subject, number, entry, kind, value)
    elif kind == "STRING" and isinstance(value, str):
        _text(subject, number, entry, value)


def _text(subject: Subject, number: str, entry: Input, value: str) -> None:
    """Our encoders refuse endless prompts; others may read them."""
    prompts = any("CLIP" in other.types for other in subject.inputs(number).values())
    if prompts and len(value) > prompt_rules.LIMIT:
        own = is_own(subject.prompt[number])
        subject.tell("ZI-WF-TEXT-LONG", number, entry.name,
                     subject.severity(number) if own else "warning", value=len(value),
                     expected=prompt_rules.LIMIT)  # fmt: skip


def _amount(subject: Subject, number: str, entry: Input, kind: str, value: Any) -> None:
    severity = subject.severity(number)
    try:
        amount = int(value) if kind == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        subject.tell("ZI-WF-VALUE", number, entry.name, severity, value=value, expected=kind)
        return
    low, high = entry.limits
    if not low <= amount <= high:  # also for NaN
        subject.tell("ZI-WF-RANGE", number, entry.name, severity,
                     value=value, expected=f"{low} … {high}")  # fmt: skip
    elif (kind == "INT" and entry.name in SIDES and amount > LARGEST
            and not makes_pictures(subject.given(number))):  # fmt: skip
        subject.tell("ZI-WF-RANGE", number, entry.name, "warning",
                     value=value, expected=f"≤ {LARGEST}")  # fmt: skip


def _choice(subject: Subject, number: str, entry: Input, value: Any) -> None:
    severity = subject.severity(number)
    if isinstance(value, str) and PurePosixPath(value).suffix.lower() in UNSAFE:
        if is_own(subject.prompt[number]):  # never opened, whatever is in it
            error = ZImageError("ZI-FILE-PICKLE", path=PurePosixPath(value).name)
            subject.refuse(error, number, entry.name, severity)
        else:
            subject.tell("ZI-WF-UNSAFE", number, entry.name, "warning", value=value)
    if entry.choices is None or entry.options.get("multiselect"):
        return
    if value in entry.choices:
        return
    where, names = f"{subject.kinds[number].name} {entry.name}", entry.choices
    files = any(entry.options.get(name) for name in (*UPLOADS, "image_folder"))
    model = isinstance(value, str) and PurePosixPath(value).suffix.lower() in MODELS
    # Names of files are long and much alike.
    meant = subject.similar.find(where, value, names, 0.85 if files or model else 0.6)
    if files:
        # The list has the folder's own files; in sub-folders and other folders there may be more.
        listed = isinstance(value, str) and not set(value) & set("/\\[")
        severity = severity if listed else "warning"
        subject.tell("ZI-WF-FILE", number, entry.name, severity, meant, value=value)
    elif model:
        source = subject.addresses.get((number, value), "")
        subject.tell("ZI-WF-MODEL", number, entry.name, severity, meant, source, value=value)
    else:
        subject.tell("ZI-WF-CHOICE", number, entry.name, severity, meant, value=value,
                     expected=", ".join(map(str, names[:12])))  # fmt: skip

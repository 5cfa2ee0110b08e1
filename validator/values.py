"""Rules for what is written in a field: numbers, choices, files, texts."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from ..text import rules as text_rules
from .inputs import UPLOADS, Input
from .subject import Subject

MODELS = (".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".gguf", ".onnx", ".pkl")
UNSAFE = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl")
LARGEST = 16384
"""Pixels on a side that no node of an image model can work with."""


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
    """What the request fuse and our encoder refuse in a prompt; elsewhere it is only odd."""
    prompts = any("CLIP" in other.types for other in subject.inputs(number).values())
    severity = subject.severity(number) if prompts else "warning"
    refusal = text_rules.find_refused(value)
    if refusal:
        subject.tell("ZI-WF-TEXT", number, entry.name, severity, value=refusal.character,
                     position=refusal.position + 1)  # fmt: skip
    if prompts and len(value) > text_rules.LIMIT:
        subject.tell("ZI-WF-TEXT-LONG", number, entry.name, severity, value=len(value),
                     expected=text_rules.LIMIT)  # fmt: skip


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
    elif kind == "INT" and entry.name in ("width", "height") and amount > LARGEST:
        subject.tell("ZI-WF-RANGE", number, entry.name, "warning",
                     value=value, expected=f"≤ {LARGEST}")  # fmt: skip


def _choice(subject: Subject, number: str, entry: Input, value: Any) -> None:
    severity = subject.severity(number)
    if isinstance(value, str) and PurePosixPath(value).suffix.lower() in UNSAFE:
        subject.tell("ZI-WF-UNSAFE", number, entry.name, "warning", value=value)
    if entry.choices is None or entry.options.get("multiselect"):
        return
    if value in entry.choices:
        return
    if any(entry.options.get(name) for name in (*UPLOADS, "image_folder")):
        # The list has the folder's own files; in sub-folders and other folders there may be more.
        listed = isinstance(value, str) and not set(value) & set("/\\[")
        severity = severity if listed else "warning"
        subject.tell("ZI-WF-FILE", number, entry.name, severity, value=value)
    elif isinstance(value, str) and PurePosixPath(value).suffix.lower() in MODELS:
        subject.tell("ZI-WF-MODEL", number, entry.name, severity, value=value)
    else:
        subject.tell("ZI-WF-CHOICE", number, entry.name, severity, value=value,
                     expected=", ".join(map(str, entry.choices[:12])))  # fmt: skip

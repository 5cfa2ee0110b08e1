"""Rules for the values of fields: numbers, choices, files and texts."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from ..errors import ZImageError
from ..text import prompt_rules
from .bounds import SIDES, is_our_node, makes_pictures
from .findings import Severity
from .inputs import UPLOADS, Input
from .json_values import is_object
from .prompt_context import PromptContext

MODEL_SUFFIXES = (
    ".safetensors",
    ".sft",
    ".ckpt",
    ".pt",
    ".pt2",
    ".bin",
    ".pth",
    ".gguf",
    ".onnx",
    ".pkl",
)
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl")
MAX_SIDE = 16384
"""Pixels on a side that no node can process. New pictures have a lower limit, see ``bounds``."""
_FILE_RATIO = 0.85
"""Required similarity of suggested files, whose names are long and much alike."""
_CHOICE_RATIO = 0.6
_MAX_CHOICES = 12
"""Maximum number of choices that a finding names."""


def check(context: PromptContext, node_id: str, entry: Input, value: Any) -> None:
    """Apply the rules for one value."""
    if is_object(value) and "__value__" in value:
        value = value["__value__"]
    if "COMBO" in entry.types:
        _check_pickle(context, node_id, entry, value)
        _check_choice(context, node_id, entry, value)
        return
    field = next((name for name in ("INT", "FLOAT", "STRING") if name in entry.types), None)
    if field in ("INT", "FLOAT"):
        _check_number(context, node_id, entry, field, value)
    elif field == "STRING" and isinstance(value, str):
        _check_prompt_length(context, node_id, entry, value)


def _check_prompt_length(context: PromptContext, node_id: str, entry: Input, value: str) -> None:
    """Report a long prompt. Our encode nodes refuse it; others may accept it."""
    is_prompt = any("CLIP" in other.types for other in context.inputs(node_id).values())
    if not is_prompt or len(value) <= prompt_rules.LIMIT:
        return
    severity: Severity = "warning"
    if is_our_node(context.prompt[node_id]):
        severity = context.severity(node_id)
    context.report(
        "ZI-WF-TEXT-LONG",
        node_id,
        entry.name,
        severity,
        value=len(value),
        expected=prompt_rules.LIMIT,
    )


def _check_number(
    context: PromptContext, node_id: str, entry: Input, field: str, value: Any
) -> None:
    name, severity = entry.name, context.severity(node_id)
    try:
        number = int(value) if field == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        context.report("ZI-WF-VALUE", node_id, name, severity, value=value, expected=field)
        return
    low, high = entry.limits
    if not low <= number <= high:  # true for NaN too
        expected = f"{low} … {high}"
        context.report("ZI-WF-RANGE", node_id, name, severity, value=value, expected=expected)
        return
    is_large_side = field == "INT" and name in SIDES and number > MAX_SIDE
    if is_large_side and not makes_pictures(context.given(node_id)):
        expected = f"≤ {MAX_SIDE}"
        context.report("ZI-WF-RANGE", node_id, name, "warning", value=value, expected=expected)


def _check_pickle(context: PromptContext, node_id: str, entry: Input, value: Any) -> None:
    """Report model files in formats that can execute code."""
    if _suffix(value) not in PICKLE_SUFFIXES:
        return
    if is_our_node(context.prompt[node_id]):  # our nodes never open such a file
        error = ZImageError("ZI-FILE-PICKLE", path=PurePosixPath(value).name)
        context.report_error(error, node_id, entry.name, context.severity(node_id))
    else:
        context.report("ZI-WF-UNSAFE", node_id, entry.name, "warning", value=value)


def _check_choice(context: PromptContext, node_id: str, entry: Input, value: Any) -> None:
    """Report a value that is not among the known choices."""
    choices = entry.choices
    if choices is None or entry.options.get("multiselect") or value in choices:
        return
    name, severity = entry.name, context.severity(node_id)
    is_upload = any(entry.options.get(option) for option in (*UPLOADS, "image_folder"))
    is_model = _suffix(value) in MODEL_SUFFIXES
    scope = f"{context.node_classes[node_id].name} {name}"
    min_ratio = _FILE_RATIO if is_upload or is_model else _CHOICE_RATIO
    similar = context.suggestions.find(scope, value, choices, min_ratio)
    if is_upload:
        # The choices are the files in one folder. Its subfolders and other folders can have more.
        is_in_folder = isinstance(value, str) and not set(value) & set("/\\[")
        severity = severity if is_in_folder else "warning"
        context.report("ZI-WF-FILE", node_id, name, severity, similar, value=value)
    elif is_model:
        url = context.download_urls.get((node_id, value), "")
        context.report("ZI-WF-MODEL", node_id, name, severity, similar, url, value=value)
    else:
        expected = ", ".join(map(str, choices[:_MAX_CHOICES]))
        context.report(
            "ZI-WF-CHOICE", node_id, name, severity, similar, value=value, expected=expected
        )


def _suffix(value: Any) -> str:
    return PurePosixPath(value).suffix.lower() if isinstance(value, str) else ""

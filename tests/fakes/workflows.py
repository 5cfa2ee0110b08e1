"""ComfyUI's official templates, and what the validator says of a document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zimage_comfyui.page.templates import ENGINE
from zimage_comfyui.validator.check import Result, check_bytes
from zimage_comfyui.validator.inputs import Input
from zimage_comfyui.validator.knowledge import Knowledge

Document = dict[str, Any]
Findings = frozenset[tuple[str, str, str, str]]
UNKNOWN = ("video_wan2_2_14B_animate",)
"""Official templates made with nodes of packs that no bare host has."""
REFUSED = (
    "api_moonvalley_video_to_video_motion_transfer",
    "api_moonvalley_video_to_video_pose_control",
)
"""Those that the host refuses as they are: their values are shifted by one field."""


def official() -> list[Path]:
    """The workflows of the ``comfyui-workflow-templates`` packages, in the order of their names."""
    spec = find_spec("comfyui_workflow_templates_core")
    assert spec is not None
    assert spec.origin is not None
    packages = Path(spec.origin).parent.parent
    found = packages.glob("comfyui_workflow_templates_media_*/templates/*.json")
    return sorted((p for p in found if not p.name.startswith("index")), key=lambda p: p.name)


def check(document: object, known: Knowledge) -> Result:
    """Check a document as if it had come from a file."""
    return check_bytes(json.dumps(document).encode(), known, engine=ENGINE)


def told(document: object, known: Knowledge) -> Findings:
    """The findings of a document: code, severity, node, input."""
    return frozenset((f.code, f.severity, f.node, f.input) for f in check(document, known).findings)


def with_files(known: Knowledge, prompts: Iterable[Document]) -> Knowledge:
    """As if the host had exactly the files that the prompts name."""
    names: dict[tuple[str, str], set[Any]] = {}
    for prompt in prompts:
        for kind, entry, value in choices(prompt, known):
            if entry.choices is None and isinstance(value, str):
                names.setdefault((kind, entry.name), set()).add(value)
    richer = Knowledge({})
    richer.node_classes = dict(known.node_classes)
    for (kind, name), values in names.items():
        old = richer.node_classes[kind]
        entry = replace(old.inputs[name], choices=tuple(sorted(values)))
        richer.node_classes[kind] = replace(old, inputs={**old.inputs, name: entry})
    return richer


def choices(prompt: Document, known: Knowledge) -> Iterator[tuple[str, Input, Any]]:
    """Class, input and value of every choice in a prompt."""
    for node in prompt.values():
        kind = known.get(node["class_type"])
        for name, entry in kind.inputs.items() if kind else ():
            value = node["inputs"].get(name)
            if "COMBO" in entry.types and value is not None and not isinstance(value, list):
                yield kind.name, entry, value

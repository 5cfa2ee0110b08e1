"""From bytes to findings and a prompt: the validator's front door."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import advice, rules, workflow
from .convert import Converter, Prompt
from .findings import Findings
from .knowledge import Knowledge

LARGEST_FILE = 64 * 2**20
"""Bytes of a workflow file that are read at all."""
PICTURES = re.compile(rb"\x89PNG|RIFF....WEBP|\xff\xd8\xff|GIF8", re.DOTALL)
"""How pictures begin; people hand over those that hold their workflow."""


@dataclass(frozen=True)
class Result:
    """What came of a file: its findings, and its API form if it could be made."""

    findings: Findings
    prompt: Prompt | None

    @property
    def ok(self) -> bool:
        """True without errors; warnings do not count."""
        return not self.findings.errors


def check_bytes(data: bytes, knowledge: Knowledge, *, core_only: bool = False) -> Result:
    """Check a workflow file: what the page saves, or API form. Never raises for its content.

    Args:
        core_only: nodes that are neither ComfyUI's nor ours are errors.
    """
    found = Findings()
    document = parse_json(data, found)
    if document is None:
        return Result(found, None)
    prompt: Any = document
    if workflow.is_workflow(document):
        converter = Converter(workflow.parse(document, found), knowledge, found)
        prompt = converter.run()
        advice.downloads(converter, knowledge, found)
    elif isinstance(document, dict) and isinstance(document.get("prompt"), dict):
        prompt = document["prompt"]  # the body of POST /prompt
    rules.check(prompt, knowledge, found, core_only=core_only)
    return Result(found, prompt if isinstance(prompt, dict) else None)


def parse_json(data: bytes, found: Findings) -> Any:
    """A JSON document, or None and a finding."""
    if len(data) > LARGEST_FILE:
        found.add("ZI-WF-LARGE", value=f"{LARGEST_FILE // 2**20} MiB")
        return None
    if PICTURES.match(data):
        found.add("ZI-WF-PICTURE")
        return None
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        found.add("ZI-WF-JSON", value=str(error) or type(error).__name__)
        return None
    if document is None:
        found.add("ZI-WF-SHAPE", what="JSON", value=None)
    return document


def load_knowledge(path: Path) -> Knowledge:
    """Node classes from a file that holds the answer of ``/object_info``.

    Raises:
        OSError, ValueError: the file cannot be read or is not such an answer.
    """
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict):
        raise ValueError(f"{path} does not hold an object")
    return Knowledge(document)

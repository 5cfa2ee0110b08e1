"""From bytes to findings and a prompt: the validator's front door."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import advice, host_rules, workflow
from .bounds import Bounds
from .convert import Converter, Prompt
from .findings import Findings
from .knowledge import Knowledge
from .our_nodes import Engine
from .reading import parse_json

DEFAULT = Bounds()


@dataclass(frozen=True)
class Result:
    """What came of a file: its findings, and its API form if it could be made."""

    findings: Findings
    prompt: Prompt | None

    @property
    def ok(self) -> bool:
        """True without errors; warnings do not count."""
        return not self.findings.errors


def check_bytes(
    data: bytes, knowledge: Knowledge, *, core_only: bool = False,
    engine: Engine | None = None, bounds: Bounds = DEFAULT,
) -> Result:  # fmt: skip
    """Check a workflow file: what the page saves, or API form. Never raises for its content.

    Args:
        core_only: nodes that are neither ComfyUI's nor ours are errors.
        engine: judges the values of our nodes; None leaves them to the engine itself.
        bounds: what the server's request fuse lets through.
    """
    found = Findings()
    document = parse_json(data, found)
    if document is None:
        return Result(found, None)
    prompt: Any = document
    options = host_rules.Options(core_only, engine, bounds)
    if workflow.is_workflow(document):
        converter = Converter(workflow.parse(document, found), knowledge, found)
        prompt = converter.run()
        if not prompt:
            zh, en = converter.left_out()
            found.add("ZI-WF-EMPTY", zh=zh, en=en)
            return Result(found, prompt)
        addresses = advice.addresses(converter)
        options = replace(options, unsent=converter.unsent, addresses=addresses)
        advice.downloads(converter, host_rules.check(prompt, knowledge, found, options))
        return Result(found, prompt)
    elif isinstance(document, dict) and isinstance(document.get("prompt"), dict):
        prompt = document["prompt"]  # the body of POST /prompt
    host_rules.check(prompt, knowledge, found, options)
    return Result(found, prompt if isinstance(prompt, dict) else None)


def as_knowledge(document: Any) -> Knowledge:
    """Node classes from the answer of ``/object_info``.

    Raises:
        ValueError: there is no node class in it; the reason is in both languages.
    """
    knowledge = Knowledge(document) if isinstance(document, dict) else Knowledge({})
    if not knowledge.kinds:
        raise ValueError("其中没有节点类 / there is no node class in it")
    return knowledge


def load_knowledge(path: Path) -> Knowledge:
    """Node classes from a file that holds the answer of ``/object_info``.

    Raises:
        OSError, ValueError: the file cannot be read or is not such an answer.
    """
    try:
        document = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("嵌套太深 / it is nested too deeply") from error
    return as_knowledge(document)

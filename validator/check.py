"""Check of a workflow file: from its bytes to findings and a prompt in API form."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors.bilingual import Bilingual
from . import advice, ruleset, workflow
from .bounds import Bounds
from .convert import Converter, Prompt
from .findings import Findings
from .json_values import JsonObject, is_object
from .knowledge import Knowledge
from .our_nodes import EngineChecks
from .reading import parse_json

DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True)
class Result:
    """The findings about a file, and its API form if there is one."""

    findings: Findings
    prompt: Prompt | None

    @property
    def ok(self) -> bool:
        """Whether there are no errors. Warnings do not count."""
        return not self.findings.errors


def check_bytes(
    data: bytes,
    knowledge: Knowledge,
    *,
    core_only: bool = False,
    engine: EngineChecks | None = None,
    bounds: Bounds = DEFAULT_BOUNDS,
) -> Result:
    """Check a workflow file: a saved workflow or API form. Never raise because of its content.

    Args:
        data: The file.
        knowledge: The node classes of the host.
        core_only: Whether nodes that neither ComfyUI nor this pack brings are errors.
        engine: Checks the values of our nodes. With None they are not checked.
        bounds: The limits of the server's request fuse.
    """
    findings = Findings()
    document = parse_json(data, findings)
    if document is None:
        return Result(findings, None)
    options = ruleset.Options(core_only, engine, bounds)
    if workflow.is_workflow(document):
        return _check_workflow(document, knowledge, findings, options)
    prompt: Any = document
    if is_object(document) and is_object(document.get("prompt")):
        prompt = document["prompt"]  # the body of POST /prompt
    ruleset.check(prompt, knowledge, findings, options)
    return Result(findings, prompt if is_object(prompt) else None)


def _check_workflow(
    document: JsonObject, knowledge: Knowledge, findings: Findings, options: ruleset.Options
) -> Result:
    """Convert a saved workflow to API form and check that."""
    converter = Converter(workflow.parse(document, findings), knowledge, findings)
    prompt = converter.run()
    if not prompt:
        findings.add("ZI-WF-EMPTY", found=converter.why_empty())
        return Result(findings, prompt)
    urls = advice.download_urls(converter)
    options = replace(options, unsent=converter.unsent, download_urls=urls)
    context = ruleset.check(prompt, knowledge, findings, options)
    advice.report_downloads(converter, context)
    return Result(findings, prompt)


class ObjectInfoError(ValueError):
    """A document is no response of ``/object_info``.

    Args:
        reason: Why not.
    """

    def __init__(self, reason: Bilingual) -> None:
        super().__init__(str(reason))
        self.reason = reason


def as_knowledge(document: Any) -> Knowledge:
    """Return the node classes in a response of ``/object_info``.

    Raises:
        ObjectInfoError: There is no node class in it.
    """
    knowledge = Knowledge(document if is_object(document) else {})
    if not knowledge.node_classes:
        raise ObjectInfoError(Bilingual("其中没有节点类", "there is no node class in it"))
    return knowledge


def load_knowledge(path: Path) -> Knowledge:
    """Return the node classes in a file that holds a response of ``/object_info``.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file does not hold such a response.
    """
    try:
        document = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ObjectInfoError(Bilingual("嵌套太深", "it is nested too deeply")) from error
    return as_knowledge(document)

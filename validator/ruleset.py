"""All rules for a prompt in API form, applied in order.

Errors are what the host, the request fuse or our nodes refuse. Warnings are what they accept or
change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from ..errors.bilingual import Bilingual
from ..text import prompt_rules
from . import advice, cycles, host_rules, our_nodes, template_types, unknown_inputs, work
from .bounds import Bounds, broken_texts, excesses
from .findings import Findings
from .knowledge import Knowledge, NodeClass
from .prompt_context import DownloadUrls, PromptContext

MAX_CHARACTERS = 8
"""Maximum number of refused characters of one text that a finding names."""


@dataclass(frozen=True)
class Options:
    """Options of a check.

    Attributes:
        core_only: Whether nodes of other packs than this one are errors.
        engine: Checks the values of our nodes, if it is there.
        bounds: The limits of the request fuse.
        unsent: Linked inputs that get no value, see :class:`.convert.Converter`.
        download_urls: Addresses of models, see :func:`.advice.download_urls`.
    """

    core_only: bool = False
    engine: our_nodes.EngineChecks | None = None
    bounds: Bounds = field(default_factory=Bounds)
    unsent: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    download_urls: DownloadUrls = field(default_factory=dict[tuple[str, str], str])


def check(
    prompt: object, knowledge: Knowledge, findings: Findings, options: Options
) -> PromptContext:
    """Apply every rule to the nodes in the order of the file, then those for the whole prompt."""
    context = PromptContext(prompt, knowledge, findings, options.download_urls)
    for node_id in context.prompt:
        _check_texts(context, node_id)
        _check_bounds(context, node_id, options.bounds)
        node_class = context.node_classes.get(node_id)
        if node_class is not None:
            _check_node(context, node_id, node_class, options)
    work_excess = work.find_excess(context.prompt, options.bounds)
    if work_excess is not None:
        node_id, excess = work_excess
        context.report_error(excess.error(node_id), node_id, excess.name)
    has_output = any(node_class.is_output for node_class in context.node_classes.values())
    if context.prompt and not has_output:
        findings.add("ZI-WF-NO-OUTPUT")
    cycles.check(context)
    return context


def _check_texts(context: PromptContext, node_id: str) -> None:
    """Report texts that the request fuse refuses, also in nodes that no output needs."""
    for name, text, _ in broken_texts(context.prompt[node_id]):
        refused = list(islice(prompt_rules.refused_characters(text), MAX_CHARACTERS + 1))
        named = refused[:MAX_CHARACTERS]
        chinese = "、".join(f"第 {item.position + 1} 个 {item.character}" for item in named)
        english = ", ".join(f"{item.position + 1} ({item.character})" for item in named)
        if len(refused) > len(named):
            chinese, english = f"{chinese} 等", f"{english} and more"
        found = Bilingual(chinese, english)
        context.report("ZI-WF-TEXT", node_id, name, found=found)


def _check_bounds(context: PromptContext, node_id: str, bounds: Bounds) -> None:
    """Report values that the request fuse refuses or changes."""
    for excess in excesses(context.prompt[node_id], bounds):
        if excess.clamped:
            context.report(
                "ZI-WF-CLAMPED",
                node_id,
                excess.name,
                "warning",
                value=excess.found,
                expected=excess.maximum,
            )
        else:
            context.report_error(excess.error(node_id), node_id, excess.name)


def _check_node(
    context: PromptContext, node_id: str, node_class: NodeClass, options: Options
) -> None:
    """Apply the rules for a node whose class is known."""
    if options.core_only:
        advice.check_foreign(context, node_id, node_class)
    host_rules.check(context, node_id, options.unsent)
    unknown_inputs.check(context, node_id)
    template_types.check(context, node_id)
    if options.engine is not None:
        our_nodes.check(context, node_id, options.engine, options.bounds)
    advice.check_texts(context, node_id)
    if node_id not in context.reached:
        context.report("ZI-WF-UNREACHABLE", node_id, severity="warning")

"""The host's own rules for the inputs of one node: required inputs, links, types, values."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors.bilingual import Bilingual
from . import values
from .findings import Severity
from .inputs import Input
from .json_values import JsonList, is_link, is_list
from .knowledge import fits
from .prompt_context import PromptContext


def check(context: PromptContext, node_id: str, unsent: Mapping[tuple[str, str], str]) -> None:
    """Check the inputs of a node whose class is known.

    Args:
        context: The prompt.
        node_id: The node.
        unsent: Linked inputs that get no value, see :class:`.convert.Converter`.
    """
    given, inputs = context.given(node_id), context.inputs(node_id)
    for name, entry in inputs.items():
        if name not in given:
            _check_missing(context, node_id, entry, unsent.get((node_id, name)))
        elif is_list(given[name]):
            _check_link(context, node_id, entry, given[name])
        else:
            values.check(context, node_id, entry, given[name])
    for name, link in context.links(node_id):
        if name not in inputs and link[0] not in context.prompt:
            _report_broken_link(context, node_id, name, link, "warning")


def _check_missing(
    context: PromptContext, node_id: str, entry: Input, muted_title: str | None
) -> None:
    """Report a required input without a value.

    Args:
        context: The prompt.
        node_id: The node.
        entry: The input.
        muted_title: The title of the muted node that it is linked to. Empty if the reason has
            been reported, None if the input is not linked.
    """
    if not entry.required:
        return
    severity = context.severity(node_id)
    if muted_title:
        context.report("ZI-WF-MUTED", node_id, entry.name, severity, value=muted_title)
    elif muted_title is None:
        expected = ", ".join(sorted(entry.types))
        context.report("ZI-WF-INPUT-MISSING", node_id, entry.name, severity, expected=expected)


def _check_link(context: PromptContext, node_id: str, entry: Input, link: JsonList) -> None:
    name, severity = entry.name, context.severity(node_id)
    if not is_link(link) or link[0] not in context.prompt:
        _report_broken_link(context, node_id, name, link, severity)
        return
    slot: int = link[1]
    source = context.node_classes.get(link[0])
    if source is None:
        return  # the unknown class has been reported
    outputs = source.outputs
    if not 0 <= slot < len(outputs):
        context.report("ZI-WF-SLOT", node_id, name, severity, value=slot, expected=len(outputs))
    elif not fits(outputs[slot], entry.types):
        value, expected = outputs[slot], ", ".join(sorted(entry.types))
        context.report("ZI-WF-TYPE", node_id, name, severity, value=value, expected=expected)


def _report_broken_link(
    context: PromptContext, node_id: str, name: str, link: JsonList, severity: Severity
) -> None:
    fault = Bilingual('应为 ["节点编号", 输出序号]', 'it should be ["node id", output number]')
    if is_link(link):
        origin = link[0][:40]
        fault = Bilingual(f"没有节点 {origin}", f"there is no node {origin}")
    context.report("ZI-WF-LINK", node_id, name, severity, value=link, found=fault)

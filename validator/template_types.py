"""Inputs that take any type of a list, but the same type for all inputs of one template.

The page checks both, the host checks neither. A wrong type fails only when the node runs, so the
findings are warnings.
"""

from __future__ import annotations

from .inputs import ANY, Input
from .json_values import as_object, is_link
from .knowledge import fits
from .prompt_context import PromptContext


def check(context: PromptContext, node_id: str) -> None:
    """Warn of links whose type is not in the list, or differs from an earlier link's type."""
    first_of_template: dict[str, tuple[str, str]] = {}
    for name, entry in context.inputs(node_id).items():
        if not entry.matched:
            continue
        linked_type = _linked_type(context, context.given(node_id).get(name))
        if linked_type == ANY:
            continue
        if not fits(linked_type, entry.matched):
            _warn(context, node_id, name, linked_type, ", ".join(sorted(entry.matched)))
            continue
        first = first_of_template.setdefault(_template_id(entry), (name, linked_type))
        first_name, first_type = first
        if not fits(linked_type, frozenset(first_type.split(","))):
            _warn(context, node_id, name, linked_type, f"{first_type} ({first_name})")


def _warn(context: PromptContext, node_id: str, name: str, value: str, expected: str) -> None:
    context.report("ZI-WF-TYPE", node_id, name, "warning", value=value, expected=expected)


def _template_id(entry: Input) -> str:
    return str(as_object(entry.options.get("template")).get("template_id"))


def _linked_type(context: PromptContext, link: object) -> str:
    """Return the type of the linked output, or ``*`` if it is not known."""
    if not is_link(link):
        return ANY
    slot: int = link[1]
    source = context.node_classes.get(link[0])
    if source is None or not 0 <= slot < len(source.outputs):
        return ANY
    return source.outputs[slot]

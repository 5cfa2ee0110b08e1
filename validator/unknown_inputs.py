"""Inputs of a prompt that the node class does not have. The host ignores them."""

from __future__ import annotations

import re

from .advice import our_classes
from .inputs import DYNAMIC_COMBO
from .json_values import is_link
from .knowledge import NodeClass
from .prompt_context import PromptContext

HIDDEN = frozenset(
    {"unique_id", "prompt", "extra_pnginfo", "dynprompt", "auth_token", "api_key"}
    | {"auth_token_comfy_org", "api_key_comfy_org"}
)
"""Inputs that the host fills in itself. The stored node classes do not list them."""
PAGE_FIELDS = frozenset(
    {"upload", "choose file to upload", "choose folder to upload", "refresh", "audioUI"}
    | {"control_after_generate", "control_before_generate", "control_filter_list"}
    | {"preview", "preview_text", "preview_markdown", "previewMode", "speak_and_recognation"}
)
"""Fields that the page and well-known packs draw for their own use, and send."""


def check(context: PromptContext, node_id: str) -> None:
    """Warn of each unknown input, with the input that was probably meant if that is not given."""
    given, known = context.given(node_id), context.inputs(node_id)
    if given.keys() <= known.keys():
        return
    node_class = context.node_classes[node_id]
    not_given = [name for name in known if name not in given]
    is_stable = node_class.is_core or node_class.name in our_classes()
    for name, value in given.items():
        if name in known or _is_ignorable(node_class, name):
            continue
        dynamic_type = _dynamic_type(node_class, name)
        if dynamic_type not in ("", DYNAMIC_COMBO):
            continue
        scope = f"{node_class.name} {not_given}"
        similar = context.suggestions.find(scope, name, not_given)
        if not (is_stable or (similar and not _differs_by_number(name, similar))):
            continue
        if similar or not (dynamic_type or _is_empty(context, value)):
            context.report(
                "ZI-WF-INPUT-UNKNOWN",
                node_id,
                name,
                "warning",
                similar=similar,
                value=node_class.name,
            )


def _is_ignorable(node_class: NodeClass, name: str) -> bool:
    """Return whether the host or the page uses the input. 3D nodes also send a picture."""
    if name in node_class.hidden or name in HIDDEN or name in PAGE_FIELDS:
        return True
    return name == "image" and "3D" in node_class.name


def _is_empty(context: PromptContext, value: object) -> bool:
    """Return whether a value is a button of the page, or a broken link, which has a finding."""
    return value in ("", None) or (is_link(value) and value[0] not in context.prompt)


def _dynamic_type(node_class: NodeClass, name: str) -> str:
    """Return the type of the dynamic input that a name belongs to. Hosts differ in the parts."""
    for entry in node_class.inputs.values():
        if entry.dynamic and (name.startswith(f"{entry.name}.") or f"_${entry.name}_" in name):
            return entry.dynamic
    return ""


def _differs_by_number(name: str, similar: str) -> bool:
    """Return whether only numbers differ, as in ``image1`` and ``image2``, which are both real."""
    return re.sub(r"[\d_]+", "", name) == re.sub(r"[\d_]+", "", similar)

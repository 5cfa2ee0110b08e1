"""The description of a pack's nodes for the host."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

from ..protocol import messages as m
from ..protocol.description_codec import pack_description
from .file_watch import FileWatch

ATTRIBUTES = (
    *("RETURN_TYPES", "RETURN_NAMES", "OUTPUT_IS_LIST", "INPUT_IS_LIST", "FUNCTION", "CATEGORY"),
    *("OUTPUT_NODE", "DESCRIPTION", "DEPRECATED", "EXPERIMENTAL", "API_NODE", "OUTPUT_TOOLTIPS"),
    *("NOT_IDEMPOTENT", "SEARCH_ALIASES", "ESSENTIALS_CATEGORY", "DEV_ONLY"),
    "HAS_INTERMEDIATE_OUTPUT",
)
"""Class attributes that ComfyUI reads."""
SCHEMA = (
    *("node_id", "display_name", "category", "description", "is_input_list", "is_output_node"),
    *("is_deprecated", "is_experimental", "is_api_node", "not_idempotent", "enable_expand"),
    *("is_dev_only", "accept_all_inputs"),
)
V3_ATTRIBUTES = (
    *("RETURN_TYPES", "RETURN_NAMES", "OUTPUT_IS_LIST", "INPUT_IS_LIST", "FUNCTION", "CATEGORY"),
    *("OUTPUT_NODE", "DESCRIPTION", "DEPRECATED", "EXPERIMENTAL", "API_NODE", "OUTPUT_TOOLTIPS"),
    *("NOT_IDEMPOTENT", "DEV_ONLY", "ACCEPT_ALL_INPUTS"),
)
ROLES = {"changed": "IS_CHANGED", "validate": "VALIDATE_INPUTS", "lazy": "check_lazy_status"}
V3_ROLES = {
    "changed": "fingerprint_inputs",
    "validate": "validate_inputs",
    "lazy": "check_lazy_status",
}


def describe(name: str, node: Any, display: str | None, watch: FileWatch) -> m.NodeInfo:
    """Return the description of one node class; it has an error if the class is faulty."""
    from comfy_api.internal import _ComfyNodeInternal

    v3 = isinstance(node, type) and issubclass(node, _ComfyNodeInternal)
    faulty = m.NodeInfo(_text(name), None, v3, None, None, None, {}, False)
    info = m.NodeInfo(name, display, v3, None, None, None, {}, False)
    try:
        if not isinstance(node, type):
            raise TypeError(f"a {type(node).__name__}, which is no class")
        info.functions = dict(_functions(node, v3))
        info.attributes = pack_description(_attributes(node, v3))
        info.inputs, info.info, info.dynamic = inputs(node, v3, watch)
        return m.node_info(m.encode(info))  # fails if a name cannot be encoded
    except Exception as error:  # noqa: BLE001  a faulty node must not affect the others
        faulty.error = _text(f"{type(error).__name__}: {error}"[:2000])
        return faulty


def _text(value: Any) -> str:
    """Return anything as text that can be encoded."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def inputs(node: Any, v3: bool, watch: FileWatch | None = None) -> tuple[m.Value, m.Value, bool]:
    """Return a node's current inputs, a V3 node's ``/object_info``, and whether it read files."""
    with watch.watching() if watch is not None else contextlib.nullcontext():
        types = node.INPUT_TYPES()
        info = node.GET_NODE_INFO_V1() if v3 else None
    if not isinstance(types, dict):
        raise TypeError(f"INPUT_TYPES gave {type(types).__name__}, no dictionary")
    read_files = watch is not None and watch.seen
    return pack_description(types), pack_description(info), read_files


def _attributes(node: Any, v3: bool) -> dict[str, Any]:
    if not v3:
        return {name: getattr(node, name) for name in ATTRIBUTES if hasattr(node, name)}
    schema = node.GET_SCHEMA()
    attributes = {name: getattr(node, name) for name in V3_ATTRIBUTES if hasattr(node, name)}
    attributes["schema"] = {name: getattr(schema, name) for name in SCHEMA if hasattr(schema, name)}
    attributes["hidden"] = [hidden.name for hidden in schema.hidden or []]
    return attributes


def _functions(node: Any, v3: bool) -> Iterator[tuple[str, m.Function]]:
    from comfy_api.internal import first_real_override

    if v3:
        yield "run", _function(node.FUNCTION, getattr(node, "execute"))  # noqa: B009
        for role, name in V3_ROLES.items():
            if first_real_override(node, name) is not None:
                yield role, _function(name, getattr(node, name))
        return
    yield "run", _function(node.FUNCTION, getattr(node, node.FUNCTION))
    for role, name in ROLES.items():
        if hasattr(node, name):
            yield role, _function(name, getattr(node, name))


def _function(name: str, function: Any) -> m.Function:
    is_coroutine = inspect.iscoroutinefunction(function)
    try:
        spec = inspect.getfullargspec(function)
    except TypeError:  # a callable without a signature
        return m.Function(name, [], True, is_coroutine)
    return m.Function(name, spec.args, spec.varkw is not None, is_coroutine)

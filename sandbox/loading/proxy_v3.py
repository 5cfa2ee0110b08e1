"""Proxy node classes for nodes of ComfyUI's V3 interface."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..protocol import messages as m
from ..protocol.description_codec import unpack_description
from .node_caller import ACCOUNT_KEYS, Caller, current_inputs, method_of, signature


def make_v3(info: m.NodeInfo, caller: Caller) -> type:
    """Return the class that stands in ComfyUI for a V3 node of a pack."""
    from comfy_api.latest import io

    attributes: dict[str, Any] = dict(unpack_description(info.attributes) or {})
    schema = _schema(attributes.pop("schema", {}), attributes.pop("hidden", []))

    def INPUT_TYPES(cls: type, include_hidden: bool = True, return_schema: bool = False) -> Any:
        inputs = dict(current_inputs(info, caller)[0])
        if not include_hidden:
            inputs.pop("hidden", None)
        return (inputs, schema) if return_schema else inputs

    run = info.functions["run"]
    attributes |= {
        "define_schema": classmethod(lambda cls: schema),
        "GET_SCHEMA": classmethod(lambda cls: schema),
        "VALIDATE_CLASS": classmethod(lambda cls: None),
        "GET_NODE_INFO_V1": classmethod(lambda cls: current_inputs(info, caller)[1]),
        "INPUT_TYPES": classmethod(INPUT_TYPES),
        "SCHEMA": schema,
        "execute": classmethod(lambda cls, **_: None),
        run.name: classmethod(_method(info.name, run, caller, run.coroutine)),
    }
    for role in ("changed", "validate", "lazy"):
        if function := info.functions.get(role):
            # ComfyUI calls validate in its event loop, which must not wait for a sandbox.
            is_coroutine = role == "validate" or function.coroutine
            method: Any = _method(info.name, function, caller, is_coroutine)
            method.__signature__ = signature(function)
            attributes[function.name] = classmethod(method)
    return type(info.name, (io.ComfyNode,), attributes)


def _schema(values: dict[str, Any], hidden: list[str]) -> Any:
    """Return a schema from those values that this ComfyUI's schemas have."""
    from comfy_api.latest import io

    fields = inspect.signature(io.Schema).parameters
    return io.Schema(
        **{key: value for key, value in values.items() if key in fields},
        hidden=[getattr(io.Hidden, name) for name in hidden if hasattr(io.Hidden, name)],
    )


def _method(
    name: str, function: m.Function, caller: Caller, is_coroutine: bool
) -> Callable[..., Any]:
    def call(cls: Any, arguments: dict[str, Any]) -> Any:
        return _output(caller.node(name, function.name, 0, arguments, _hidden_values(cls)))

    return method_of(call, is_coroutine)


def _hidden_values(cls: Any) -> dict[str, Any]:
    holder = getattr(cls, "hidden", None)
    values = {} if holder is None else vars(holder)
    return {k: v for k, v in values.items() if v is not None and k.upper() not in ACCOUNT_KEYS}


def _output(value: Any) -> Any:
    """Return a ``NodeOutput`` again if the worker made a dictionary of one."""
    if not (isinstance(value, dict) and value.pop("\0v3", False)):
        return value
    from comfy_api.latest import io

    return io.NodeOutput(
        *(value.get("result") or ()),
        ui=value.get("ui"),
        expand=value.get("expand"),
        block_execution=value.get("block"),
    )

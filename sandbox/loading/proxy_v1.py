"""Proxy node classes for nodes of ComfyUI's V1 interface."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from ..protocol import messages as m
from ..protocol.description_codec import unpack_description
from .node_caller import ACCOUNT_KEYS, Caller, current_inputs, method_of, signature

TRANSFERRED = frozenset(
    {
        *("IMAGE", "MASK", "LATENT", "AUDIO", "STRING", "INT", "FLOAT", "BOOLEAN", "COMBO"),
        *("SIGMAS", "CONDITIONING", "VAE", "CONTROL_NET"),
    }
)
"""Types whose values normally do not stay in a sandbox. A MODEL may carry functions that do."""

_instances = itertools.count(1)


def make_v1(info: m.NodeInfo, caller: Caller) -> type:
    """Return the class that stands in ComfyUI for a V1 node of a pack."""
    attributes: dict[str, Any] = dict(unpack_description(info.attributes) or {})
    hidden = _hidden(info)
    withheld = {
        name for name, kind in hidden.items() if isinstance(kind, str) and kind in ACCOUNT_KEYS
    }

    def INPUT_TYPES(cls: type) -> Any:
        inputs = current_inputs(info, caller)[0]
        if info.dynamic and isinstance(inputs, dict):
            # Hidden inputs stay as they were loaded: what is withheld was decided by them.
            inputs = {key: value for key, value in inputs.items() if key != "hidden" or hidden}
            inputs |= {"hidden": hidden} if hidden else {}
        return inputs

    def __init__(self: Any) -> None:
        self._zimage_instance = number = next(_instances)
        weakref.finalize(self, caller.drop, number).atexit = False

    run = info.functions["run"]
    attributes |= {
        "__init__": __init__,
        "INPUT_TYPES": classmethod(INPUT_TYPES),
        run.name: _method(info.name, run, caller, withheld),
    }
    if lazy := info.functions.get("lazy"):
        attributes[lazy.name] = _method(info.name, lazy, caller, withheld)
    if validate := info.functions.get("validate"):
        # ComfyUI calls it in its event loop, which must not wait for a sandbox.
        attributes[validate.name] = _class_method(info.name, validate, caller, withheld, True)
    if changed := info.functions.get("changed"):
        attributes[changed.name] = _class_method(
            info.name, changed, caller, withheld, changed.coroutine
        )
    if keeps_objects(attributes.get("RETURN_TYPES")):
        attributes["IS_CHANGED"] = _with_generation(attributes.get("IS_CHANGED"), caller)
    return type(info.name, (), attributes)


def _hidden(info: m.NodeInfo) -> dict[str, Any]:
    """Return the hidden inputs of a node by name, as they were when it was loaded."""
    inputs = unpack_description(info.inputs)
    hidden = inputs.get("hidden") if isinstance(inputs, dict) else None
    return dict(hidden) if isinstance(hidden, dict) else {}


def _method(
    name: str, function: m.Function, caller: Caller, withheld: set[str]
) -> Callable[..., Any]:
    def call(node: Any, arguments: dict[str, Any]) -> Any:
        arguments |= nothing_for(withheld, arguments)
        return caller.node(name, function.name, node._zimage_instance, arguments)

    return method_of(call, function.coroutine)


def nothing_for(withheld: set[str], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return None for each withheld argument; a list of None if the node takes lists."""
    values = {name: arguments[name] for name in withheld & arguments.keys()}
    return {k: [None] * len(v) if isinstance(v, list) else None for k, v in values.items()}


def _class_method(
    name: str, function: m.Function, caller: Caller, withheld: set[str], is_coroutine: bool
) -> Any:
    def call(_cls: Any, arguments: dict[str, Any]) -> Any:
        arguments |= nothing_for(withheld, arguments)
        return caller.node(name, function.name, 0, arguments)

    method: Any = method_of(call, is_coroutine)
    method.__signature__ = signature(function)
    return classmethod(method)


def keeps_objects(types: Any) -> bool:
    """Return whether outputs of these types may be objects that stay in the pack's process."""
    return any(isinstance(kind, str) and kind not in TRANSFERRED for kind in types or ())


def _with_generation(changed: Any, caller: Caller) -> Any:
    """Return an ``IS_CHANGED`` that makes cached outputs invalid once their process has ended."""

    def is_changed(cls: Any, **arguments: Any) -> Any:
        own = False if changed is None else changed.__func__(cls, **arguments)
        generation = caller.generation()
        return [own, generation] if generation else own

    return classmethod(is_changed)

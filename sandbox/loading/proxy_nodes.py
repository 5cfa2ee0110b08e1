"""Node classes that stand in ComfyUI for nodes that run in a sandbox."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from ..protocol import messages as m
from ..protocol.plain_values import unpack_plain

_instances = itertools.count(1)


class Caller(Protocol):
    """What runs the functions of a pack's nodes."""

    def node(
        self, name: str, function: str, instance: int, arguments: Any, hidden: Any = None
    ) -> Any:
        """Run it in the sandbox and wait."""
        ...

    def inputs(self, name: str) -> Any:
        """``INPUT_TYPES`` as it is now, and what a V3 node says of itself."""
        ...

    def drop(self, instance: int) -> None:
        """An instance is not used any more."""
        ...

    def generation(self) -> int:
        """Rises whenever objects that the host still had have ended with their process."""
        ...


def make(info: m.NodeInfo, caller: Caller) -> type:
    """The class for ``NODE_CLASS_MAPPINGS``."""
    return _v3(info, caller) if info.v3 else _v1(info, caller)


def _v1(info: m.NodeInfo, caller: Caller) -> type:
    attributes: dict[str, Any] = dict(unpack_plain(info.attributes) or {})
    hidden = _hidden(info)
    withheld = {name for name, kind in hidden.items() if isinstance(kind, str) and kind in KEYS}

    def INPUT_TYPES(cls: type) -> Any:
        found = _inputs(info, caller)[0]
        if info.dynamic and isinstance(found, dict):  # what is withheld stays what it was
            found = {key: value for key, value in found.items() if key != "hidden" or hidden}
            found |= {"hidden": hidden} if hidden else {}
        return found

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
    if function := info.functions.get("validate"):
        attributes[function.name] = _of_class(info.name, function, caller, withheld, waits=True)
    changed = info.functions.get("changed")
    if changed is not None:
        attributes[changed.name] = _of_class(info.name, changed, caller, withheld, waits=False)
    if keeps_objects(attributes.get("RETURN_TYPES")):
        attributes["IS_CHANGED"] = _renewed(attributes.get("IS_CHANGED"), caller)
    return type(info.name, (), attributes)


def _inputs(info: m.NodeInfo, caller: Caller) -> tuple[Any, Any]:
    if info.trouble:
        raise RuntimeError(info.trouble)
    if info.dynamic:
        return caller.inputs(info.name)
    return unpack_plain(info.inputs), unpack_plain(info.info)


KEYS = frozenset({"API_KEY_COMFY_ORG", "AUTH_TOKEN_COMFY_ORG"})
"""Hidden inputs that are the user's money: a sandbox gets None, as without an account."""


def _hidden(info: m.NodeInfo) -> dict[str, Any]:
    """Hidden inputs of a node by name, as they were when it was loaded."""
    inputs = unpack_plain(info.inputs)
    found = inputs.get("hidden") if isinstance(inputs, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def _method(
    name: str, function: m.Function, caller: Caller, withheld: set[str]
) -> Callable[..., Any]:
    def method(self: Any, **arguments: Any) -> Any:
        arguments |= without(arguments, withheld)
        return caller.node(name, function.name, self._zimage_instance, arguments)

    async def coroutine(self: Any, **arguments: Any) -> Any:
        arguments |= without(arguments, withheld)
        return await asyncio.to_thread(
            caller.node, name, function.name, self._zimage_instance, arguments
        )

    return coroutine if function.coroutine else method


def without(arguments: dict[str, Any], withheld: set[str]) -> dict[str, Any]:
    """None for those that a sandbox does not get; in a list, if the node has lists."""
    given = {name: arguments[name] for name in withheld & arguments.keys()}
    return {k: [None] * len(v) if isinstance(v, list) else None for k, v in given.items()}


def _of_class(
    name: str, function: m.Function, caller: Caller, withheld: set[str], waits: bool
) -> Any:
    """A function of the class. ComfyUI reads the parameters of ``VALIDATE_INPUTS``, and calls it
    where it answers everybody: it must not wait there."""

    def method(*_: Any, **arguments: Any) -> Any:
        arguments |= without(arguments, withheld)
        return caller.node(name, function.name, 0, arguments)

    async def coroutine(*_: Any, **arguments: Any) -> Any:
        arguments |= without(arguments, withheld)
        return await asyncio.to_thread(caller.node, name, function.name, 0, arguments)

    found: Any = coroutine if waits or function.coroutine else method
    found.__signature__ = _signature(function)
    return classmethod(found)


CROSSING = frozenset(
    {
        "IMAGE", "MASK", "LATENT", "AUDIO", "STRING", "INT", "FLOAT", "BOOLEAN", "COMBO", "SIGMAS",
        "CONDITIONING", "VAE", "CONTROL_NET",
    }
)  # fmt: skip
"""Types whose values do not stay in a sandbox, as a rule. A MODEL may carry functions that do."""


def keeps_objects(types: Any) -> bool:
    """Whether outputs of these types may be objects that stay in the pack's process."""
    return any(isinstance(one, str) and one not in CROSSING for one in types or ())


def _renewed(changed: Any, caller: Caller) -> Any:
    """``IS_CHANGED`` for such outputs: with the process ComfyUI's cached ones are gone, too."""

    def is_changed(cls: Any, **arguments: Any) -> Any:
        own = False if changed is None else changed.__func__(cls, **arguments)
        generation = caller.generation()
        return [own, generation] if generation else own

    return classmethod(is_changed)


def _signature(function: m.Function) -> inspect.Signature:
    kinds = inspect.Parameter
    names = [one for one in function.arguments if one.isidentifier()]
    if not names or names[0] not in {"cls", "s", "self"}:
        names.insert(0, "cls")
    parameters = [kinds(one, kinds.POSITIONAL_OR_KEYWORD) for one in dict.fromkeys(names)]
    if function.open:
        parameters.append(kinds("kwargs", kinds.VAR_KEYWORD))
    return inspect.Signature(parameters)


def _v3(info: m.NodeInfo, caller: Caller) -> type:
    from comfy_api.latest import io

    attributes: dict[str, Any] = dict(unpack_plain(info.attributes) or {})
    about, hidden = attributes.pop("schema", {}), attributes.pop("hidden", [])
    schema = io.Schema(
        **{key: value for key, value in about.items() if key in _schema_fields(io)},
        hidden=[getattr(io.Hidden, one) for one in hidden if hasattr(io.Hidden, one)],
    )

    def INPUT_TYPES(cls: type, include_hidden: bool = True, return_schema: bool = False) -> Any:
        found = dict(_inputs(info, caller)[0])
        if not include_hidden:
            found.pop("hidden", None)
        return (found, schema) if return_schema else found

    run = info.functions["run"]
    attributes |= {
        "define_schema": classmethod(lambda cls: schema),
        "GET_SCHEMA": classmethod(lambda cls: schema),
        "VALIDATE_CLASS": classmethod(lambda cls: None),
        "GET_NODE_INFO_V1": classmethod(lambda cls: _inputs(info, caller)[1]),
        "INPUT_TYPES": classmethod(INPUT_TYPES),
        "SCHEMA": schema,
        "execute": classmethod(lambda cls, **_: None),
        run.name: classmethod(_v3_run(info.name, run, caller)),
    }
    for role in ("changed", "validate", "lazy"):
        if function := info.functions.get(role):
            found = _v3_run(info.name, function, caller, role == "validate")
            found.__signature__ = _signature(function)  # type: ignore[attr-defined]
            attributes[function.name] = classmethod(found)
    return type(info.name, (io.ComfyNode,), attributes)


def _schema_fields(io: Any) -> frozenset[str]:
    return frozenset(inspect.signature(io.Schema).parameters)


def _v3_run(
    name: str, function: m.Function, caller: Caller, waits: bool = False
) -> Callable[..., Any]:
    def hidden(cls: Any) -> dict[str, Any]:
        holder = getattr(cls, "hidden", None)
        found = {} if holder is None else vars(holder)
        return {k: v for k, v in found.items() if v is not None and k.upper() not in KEYS}

    def method(cls: Any, *_: Any, **arguments: Any) -> Any:
        return _output(caller.node(name, function.name, 0, arguments, hidden(cls)))

    async def coroutine(cls: Any, *_: Any, **arguments: Any) -> Any:
        return _output(
            await asyncio.to_thread(caller.node, name, function.name, 0, arguments, hidden(cls))
        )

    return coroutine if waits or function.coroutine else method


def _output(value: Any) -> Any:
    """What :func:`guest._plain` made of V3's output, as that again."""
    if not (isinstance(value, dict) and value.pop("\0v3", False)):
        return value
    from comfy_api.latest import io

    found = io.NodeOutput(
        *(value.get("result") or ()), ui=value.get("ui"), expand=value.get("expand"),
        block_execution=value.get("block"),
    )  # fmt: skip
    return found

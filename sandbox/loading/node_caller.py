"""What both kinds of proxy node classes share: the calls into a sandbox."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Protocol

from ..protocol import messages as m
from ..protocol.description_codec import unpack_description

ACCOUNT_KEYS = frozenset({"API_KEY_COMFY_ORG", "AUTH_TOKEN_COMFY_ORG"})
"""Hidden inputs that spend the user's money: a sandbox gets None, as without an account."""


class Caller(Protocol):
    """Runs the functions of a pack's nodes."""

    def node(
        self, name: str, function: str, instance: int, arguments: Any, hidden: Any = None
    ) -> Any:
        """Run a function of a node in the sandbox, and return its result."""
        ...

    def inputs(self, name: str) -> Any:
        """Return the current ``INPUT_TYPES`` of a node, and the ``/object_info`` of a V3 node."""
        ...

    def drop(self, instance: int) -> None:
        """Release an instance of a node class."""
        ...

    def generation(self) -> int:
        """Return how often a process ended while the host still had objects of it."""
        ...


def current_inputs(info: m.NodeInfo, caller: Caller) -> tuple[Any, Any]:
    """Return ``INPUT_TYPES`` and ``/object_info``; ask the sandbox only if they can change."""
    if info.error:
        raise RuntimeError(info.error)
    if info.dynamic:
        return caller.inputs(info.name)
    return unpack_description(info.inputs), unpack_description(info.info)


def signature(function: m.Function) -> inspect.Signature:
    """Return the signature that ComfyUI reads of a class method such as ``VALIDATE_INPUTS``."""
    kinds = inspect.Parameter
    names = [name for name in function.arguments if name.isidentifier()]
    if not names or names[0] not in {"cls", "s", "self"}:
        names.insert(0, "cls")
    parameters = [kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in dict.fromkeys(names)]
    if function.open:
        parameters.append(kinds("kwargs", kinds.VAR_KEYWORD))
    return inspect.Signature(parameters)


def method_of(function: Callable[..., Any], is_coroutine: bool) -> Callable[..., Any]:
    """Return a function as a method, or as one that waits in a thread of its own."""

    def method(this: Any, /, *_: Any, **arguments: Any) -> Any:
        return function(this, arguments)

    async def coroutine(this: Any, /, *_: Any, **arguments: Any) -> Any:
        return await asyncio.to_thread(function, this, arguments)

    return coroutine if is_coroutine else method

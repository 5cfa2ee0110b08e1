"""Judges and does what packs in sandboxes ask of the host; everything that they say may be hostile.

A name that comes from a worker is only ever looked up in a closed list (:mod:`kinds`,
:mod:`offered`). What it changes must be an object that it has made itself, by ``clone`` for
example: a MODEL that other nodes share stays as it is, whatever a pack does.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..protocol import messages as m
from ..protocol.operations import KINDS, OBJECTS, Kind, kind_of
from ..protocol.shared_memory import QuotaError

if TYPE_CHECKING:
    from .process import Process

NOTHING = Kind()
LONGEST_PATH = 8
MOST_MADE = 1000
"""Objects that one process may have made and that are still there."""
PLAIN = (type(None), bool, int, float, str, bytes)
CALLBACK_SECONDS, SILENT_SECONDS = 600.0, 60.0
"""Longest call of a function that stays in a worker, and without a sign of life."""


class Made:
    """What packs have made, and may therefore change, and the bytes that they have put into it
    beside tensors; by process, held weakly."""

    def __init__(self) -> None:
        self._made: weakref.WeakKeyDictionary[Any, weakref.WeakKeyDictionary[Any, int]] = (
            weakref.WeakKeyDictionary()
        )

    def add(self, process: Any, value: Any, known: Any = (), like: Any = None) -> None:
        """It, or what is in it, was made for that process; ``known`` was there before, and what
        is in ``like`` is in it, too."""
        own = self._made.setdefault(process, weakref.WeakKeyDictionary())
        before = {id(one) for one in flat(known)}
        said = 0 if like is None else own.get(like, 0)
        for one in flat(value):
            if id(one) not in before and kind_of(one) != "OTHER":
                own[one] = max(said, own.get(one, 0))

    def has(self, process: Any, value: Any) -> bool:
        """Whether that process may change it."""
        return value in self._made.get(process, ())

    def charge(self, process: Any, value: Any, size: int) -> None:
        """So many bytes were said of what it has made."""
        own = self._made.get(process, {})
        for one in flat(value):
            if kind_of(one) != "OTHER" and one in own:
                own[one] += size

    def afford(self, process: Process, size: int) -> None:
        """Judge whether a process may have so many bytes more.

        Raises:
            QuotaError: it has as much as it may.
        """
        own = self._made.get(process, {})
        if len(own) > MOST_MADE:
            raise QuotaError(f"{MOST_MADE} objects that this pack has made")
        said = sum(list(own.values())) + size
        if said > process.quota:
            raise QuotaError(f"{said} > {process.quota} bytes in objects of this pack")


made = Made()
_calling = threading.local()
"""``device`` of the tensors that a function in a worker has got, while it is called."""


def flat(value: Any) -> Iterator[Any]:
    """Objects in lists, tuples and dictionaries; neither plain data nor tensors."""
    if isinstance(value, list | tuple):
        for one in value:
            yield from flat(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from flat(one)
    elif not isinstance(value, PLAIN) and type(value).__module__ != "torch":
        yield value


def answer(process: Process, target: Any, name: str, arguments: Any, size: int = 0) -> Any:
    """Do what a pack asks, of an object or, without one, of a function that the host offers.

    Args:
        target: the object.
        name: a method, ``.name`` to read, ``=name`` to write, ``()`` to call.
        arguments: ``[positional, by name]``.
        size: bytes of the question, without tensors in arenas: what may stay of it.

    Raises:
        PermissionError: it is not offered.
        QuotaError: the host keeps enough for that pack already.
    """
    made.afford(process, size)
    value = _answer(process, target, name, arguments)
    made.charge(process, [target, value], size)
    return value


def _answer(process: Process, target: Any, name: str, arguments: Any) -> Any:
    args, kwargs = arguments
    if target is None:
        from .allowed_functions import run

        return run(process, name, list(args), dict(kwargs))
    kind = kind_of(target)
    offered = KINDS.get(kind, NOTHING)
    if name[:1] == "." and name[1:] in offered.reads:
        return read(process, target, kind, name[1:])
    if name[:1] == "=" and name[1:] in offered.writes:
        _own(process, target, kind)
        setattr(target, name[1:], data(args[0], functions=True))
        return None
    if name == "()" and offered.calls:
        return _called(target, kind, args, kwargs)
    if name in offered.changes:
        _own(process, target, kind)
        return _change(target, name, args, kwargs)
    if name in offered.methods:
        return _method(process, target, kind, name, args, kwargs)
    raise PermissionError(f"{name[:100]!r} is no operation of {kind} for packs in a sandbox")


def read(process: Process, target: Any, kind: str, name: str) -> Any:
    """An attribute."""
    value = getattr(target, name)
    if name == "model_type" and kind == "BASE_MODEL":
        return value.name
    if made.has(process, target) and name in {"patcher", "model_patcher"}:
        made.add(process, value)
    return list(value) if name == "concat_keys" else value


def _own(process: Process, target: Any, kind: str) -> None:
    if not made.has(process, target):
        raise PermissionError(f"a pack changes only what it has made: clone this {kind} before")


def _method(process: Process, target: Any, kind: str, name: str, args: Any, kwargs: Any) -> Any:
    if name == "get_model_object":
        wanted = args[0] if args else kwargs.get("name")
        if wanted not in OBJECTS:
            raise PermissionError(f"{str(wanted)[:100]!r} of a MODEL is not for sandboxes")
    if name == "model_state_dict":
        found = target.model_state_dict(*args, **kwargs)
        return {key: (list(value.shape), value.dtype) for key, value in found.items()}
    if kind == "BASE_MODEL" and name == "apply_model":
        args, kwargs = moved((args, kwargs), target.device)
    value = getattr(target, name)(*args, **kwargs)
    if name in {"clone", "copy"}:
        made.add(process, value, like=target)
        if (patcher := getattr(value, "patcher", None)) is not None:
            made.add(process, patcher, like=getattr(target, "patcher", None))
    return value


def _called(target: Any, kind: str, args: Any, kwargs: Any) -> Any:
    if kind in {"EXECUTOR", "STEP"}:
        args, kwargs = moved((args, kwargs), getattr(_calling, "device", None))
    elif kind in {"APPLY_MODEL", "DENOISER"}:
        owner = getattr(target, "__self__", target)
        args, kwargs = moved((args, kwargs), _device_of(owner))
    elif kind in {"UPSCALE_MODEL", "CLIP_VISION_MODEL"}:
        from .allowed_functions import loaded

        return loaded(target, kind, args, kwargs)
    return target(*args, **kwargs)


def _device_of(owner: Any) -> Any:
    """Where a model's tensors are: of a BaseModel, a guider or what denoises with one."""
    for _ in range(3):
        if hasattr(owner, "device"):
            return owner.device
        owner = getattr(owner, "inner_model", None)
    return None


def _change(target: Any, name: str, args: Any, kwargs: Any) -> Any:
    if name in {"set_option", "drop_option"}:
        return _option(target.model_options, name, *args)
    if name == "add_patches":
        return _add_patches(target, *args, **kwargs)
    if name == "add_object_patch":
        wanted, value = args if args else (kwargs["name"], kwargs["obj"])
        if wanted not in OBJECTS - {"diffusion_model", "model_config"}:
            raise PermissionError(f"{str(wanted)[:100]!r} of a MODEL is not for sandboxes")
        return target.add_object_patch(wanted, data(value, functions=True))
    found = getattr(target, name)(*data(list(args), True), **data(dict(kwargs), True))
    return None if found is None else target if found is target else found


def _option(options: dict[Any, Any], name: str, path: Any, value: Any = None) -> None:
    """Set or drop ``options[path[0]][path[1]]…``."""
    if not isinstance(path, list) or not 0 < len(path) <= LONGEST_PATH:
        raise PermissionError("no place in the options of a model")
    for key in path[:-1]:
        options = options[key]
        if type(options) is not dict:
            raise PermissionError("no place in the options of a model")
    if name == "drop_option":
        del options[path[-1]]
    else:
        options[path[-1]] = data(value, functions=True)


def _add_patches(
    target: Any, patches: Any, strength_patch: Any = 1.0, strength_model: Any = 1.0
) -> Any:
    """Weights to be added, by key or (key, offset); never a function in their place."""
    if not isinstance(patches, dict):
        raise TypeError("patches")
    for key, value in patches.items():
        plain = isinstance(key, str) or (isinstance(key, tuple) and len(key) == 2)
        if not plain or next(flat(value), None) is not None:
            raise PermissionError("patches of weights are tensors and numbers")
    return target.add_patches(patches, float(strength_patch), float(strength_model))


def data(value: Any, functions: bool = False) -> Any:
    """Itself, if it may become a part of a host's object: of an object of the host or plain.

    Raises:
        PermissionError: it is an object of a worker that the host could do nothing with.
    """
    from .object_table import Callback, Handle

    for one in flat(value):
        if isinstance(one, Handle) and not (functions and isinstance(one, Callback)):
            raise PermissionError(f"{one!r} means nothing to the host")
    return value


def moved(value: Any, device: Any) -> Any:
    """Tensors in lists, tuples and dictionaries on that device."""
    if device is None:
        return value
    if type(value) in {list, tuple}:
        return type(value)(moved(one, device) for one in value)
    if isinstance(value, dict):
        return {key: moved(one, device) for key, one in value.items()}
    return value.to(device) if type(value).__module__ == "torch" and hasattr(value, "to") else value


def _first(value: Any) -> Any:
    """The first tensor in arguments."""
    if isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            if (found := _first(one)) is not None:
                return found
        return None
    return value if hasattr(value, "untyped_storage") else None


def call_back(process: Process, number: int, args: Any, kwargs: Any) -> Any:
    """Call a function that stays in a worker, as a part of a model's patch does.

    With the arguments of a cfg function (six latents [1, 16, 8, 8], a model, its options) a call
    took 3.9 ms on two busy cores; larger tensors add their copies, both ways. Once a step that is
    nothing, in each attention of a large model it is felt. It runs in the question that the worker
    waits on, or, after the node has ended, in the idle worker. What it gives is on the device of
    the first tensor that it got.

    Raises:
        ZImageError: the process has ended, or the function has failed.
    """
    from ...errors import ZImageError
    from .call_deadline import Limit, interrupted
    from .object_table import WorkerDied, WorkerRaised
    from .raised import translated

    call = m.Call(0, "object", instance=number)
    limit = Limit(CALLBACK_SECONDS, SILENT_SECONDS, call, interrupted)
    tensor, before = _first((args, kwargs)), getattr(_calling, "device", None)
    _calling.device = None if tensor is None else tensor.device
    try:
        found = process.call_object(call, args, kwargs, limit)
    except WorkerDied as error:
        raise ZImageError(
            "ZI-SANDBOX-DIED", pack=process.name, node="…", found=error.found, tail=""
        ) from None
    except WorkerRaised as error:
        raise translated(process.name, "…", error.trouble) from None
    finally:
        _calling.device = before
    return found if tensor is None else moved(found, tensor.device)

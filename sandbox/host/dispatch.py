"""Checks and carries out requests of packs for operations on objects of the host.

A request may be hostile. Names in it are only looked up in closed lists
(:mod:`..protocol.operations` and :mod:`.allowed_functions`). A pack can change only objects that it
has created, for example by ``clone``: a MODEL that other nodes share stays as it is.
"""

from __future__ import annotations

from typing import Any

from ..protocol.operations import MODEL_OBJECTS, OPERATIONS, Operations, kind_of
from .allowed_functions import PackSession, call_function, call_loaded_model
from .created_objects import created
from .value_tree import is_data, to_device
from .worker_objects import callback_device, require_data

NO_OPERATIONS = Operations()
MAX_PATH = 8
PATCHABLE_OBJECTS = MODEL_OBJECTS - {"diffusion_model", "model_config"}


def answer(session: PackSession, target: Any, name: str, arguments: Any, size: int = 0) -> Any:
    """Carry out a request of a pack.

    Args:
        session: with the pack's worker.
        target: an object of the host, or None for one of the host's functions.
        name: a method, ``.name`` to read, ``=name`` to write, ``()`` to call.
        arguments: ``[positional, by name]``.
        size: bytes of the request without shared memory, which the object may store.

    Raises:
        PermissionError: the operation is not allowed.
        QuotaError: the host already stores enough for the pack.
    """
    created.require_quota(session, size)
    value = _carry_out(session, target, name, arguments)
    created.charge(session, [target, value], size)
    return value


def _carry_out(session: PackSession, target: Any, name: str, arguments: Any) -> Any:
    args, kwargs = arguments
    if target is None:
        return call_function(session, name, list(args), dict(kwargs))
    kind = kind_of(target)
    allowed = OPERATIONS.get(kind, NO_OPERATIONS)
    if name[:1] == "." and name[1:] in allowed.reads:
        return _read(session, target, kind, name[1:])
    if name[:1] == "=" and name[1:] in allowed.writes:
        _require_created(session, target, kind)
        setattr(target, name[1:], require_data(args[0], functions=True))
        return None
    if name == "()" and allowed.calls:
        return _call(target, kind, args, kwargs)
    if name in allowed.changes:
        _require_created(session, target, kind)
        return _change(target, name, args, kwargs)
    if name in allowed.methods:
        return _call_method(session, target, kind, name, args, kwargs)
    raise PermissionError(f"{name[:100]!r} is no operation of {kind} for packs in a sandbox")


def _read(session: PackSession, target: Any, kind: str, name: str) -> Any:
    value = getattr(target, name)
    if name == "model_type" and kind == "BASE_MODEL":
        return value.name
    if created.has(session, target) and name in {"patcher", "model_patcher"}:
        created.add(session, value)
    return list(value) if name == "concat_keys" else value


def _require_created(session: PackSession, target: Any, kind: str) -> None:
    if not created.has(session, target):
        raise PermissionError(f"a pack changes only what it has made: clone this {kind} before")


def _call_method(
    session: PackSession, target: Any, kind: str, name: str, args: Any, kwargs: Any
) -> Any:
    if name == "get_model_object":
        wanted = args[0] if args else kwargs.get("name")
        if wanted not in MODEL_OBJECTS:
            raise PermissionError(f"{str(wanted)[:100]!r} of a MODEL is not for sandboxes")
    if name == "model_state_dict":
        weights = target.model_state_dict(*args, **kwargs)
        return {key: (list(weight.shape), weight.dtype) for key, weight in weights.items()}
    if kind == "BASE_MODEL" and name == "apply_model":
        args, kwargs = to_device((args, kwargs), target.device)
    value = getattr(target, name)(*args, **kwargs)
    if name in {"clone", "copy"}:
        created.add(session, value, copy_of=target)
        if (patcher := getattr(value, "patcher", None)) is not None:
            created.add(session, patcher, copy_of=getattr(target, "patcher", None))
    return value


def _call(target: Any, kind: str, args: Any, kwargs: Any) -> Any:
    """Call an object with its tensors on the device that it needs."""
    if kind in {"UPSCALE_MODEL", "CLIP_VISION_MODEL"}:
        return call_loaded_model(target, kind, args, kwargs)
    if kind in {"EXECUTOR", "STEP"}:
        args, kwargs = to_device((args, kwargs), callback_device())
    elif kind in {"APPLY_MODEL", "DENOISER"}:
        owner = getattr(target, "__self__", target)
        args, kwargs = to_device((args, kwargs), _device_of(owner))
    return target(*args, **kwargs)


def _device_of(owner: Any) -> Any:
    """Return the device of a BaseModel, a guider or a denoiser, None if it has none."""
    for _ in range(3):
        if hasattr(owner, "device"):
            return owner.device
        owner = getattr(owner, "inner_model", None)
    return None


def _change(target: Any, name: str, args: Any, kwargs: Any) -> Any:
    if name in {"set_option", "drop_option"}:
        return _change_option(target.model_options, name, *args)
    if name == "add_patches":
        return _add_patches(target, *args, **kwargs)
    if name == "add_object_patch":
        wanted, value = args if args else (kwargs["name"], kwargs["obj"])
        if wanted not in PATCHABLE_OBJECTS:
            raise PermissionError(f"{str(wanted)[:100]!r} of a MODEL is not for sandboxes")
        return target.add_object_patch(wanted, require_data(value, functions=True))
    method = getattr(target, name)
    return method(*require_data(list(args), True), **require_data(dict(kwargs), True))


def _change_option(options: dict[Any, Any], name: str, path: Any, value: Any = None) -> None:
    """Set or delete ``options[path[0]][path[1]]…``."""
    if not isinstance(path, list) or not 0 < len(path) <= MAX_PATH:
        raise PermissionError("no place in the options of a model")
    for key in path[:-1]:
        options = options[key]
        if type(options) is not dict:
            raise PermissionError("no place in the options of a model")
    if name == "drop_option":
        del options[path[-1]]
    else:
        options[path[-1]] = require_data(value, functions=True)


def _add_patches(
    target: Any, patches: Any, strength_patch: Any = 1.0, strength_model: Any = 1.0
) -> Any:
    """Add patches to weights, by key or (key, offset); functions are refused."""
    if not isinstance(patches, dict):
        raise TypeError("patches")
    for key, value in patches.items():
        valid_key = isinstance(key, str) or (isinstance(key, tuple) and len(key) == 2)
        if not valid_key or not is_data(value):
            raise PermissionError("patches of weights are tensors and numbers")
    return target.add_patches(patches, float(strength_patch), float(strength_model))

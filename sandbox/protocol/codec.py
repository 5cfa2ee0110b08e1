"""Serialization of Python values as :data:`.values.Value`, and back.

Both sides use it. Each side brings a :class:`Port`, which knows where tensors are stored and how
objects that are no plain data are referred to.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from . import messages as m
from .exceptions import CodecError
from .libraries import import_torch, loaded
from .tensor_codec import NUMPY_KINDS, TORCH_DTYPES, pack_numpy, pack_torch, unpack_tensor

MAX_DEPTH = 100
"""Deepest nesting of a value."""
MAX_DIGITS = 10_000
MIN_INT = -(2**63)
MAX_INT = 2**64 - 1
SAFE_KEYS = frozenset({str, int, float, bool, type(None), m.Bytes, m.SurrogateText})
"""Key types for which nobody can choose many values with the same hash."""
NO_SUCH_TYPE = "\0 no such type"
NO_SUCH_INPUT = "\0 no such input"
_type_of: Callable[[Any], type[Any]] = type
_dict_contains: Callable[[Any, Any], bool] = dict[Any, Any].__contains__
_dict_items: Callable[[Any], Iterable[tuple[Any, Any]]] = dict[Any, Any].items
"""Methods of ``dict`` itself, where a subclass may override them."""
DEVICES = frozenset({"cpu", "cuda", "mps", "meta"})


class Port(Protocol):
    """One side of the connection: its shared memory and its objects."""

    def put(self, view: Any, size: int) -> m.BufferRef:
        """Store ``size`` bytes, a contiguous tensor on the CPU or array, for the other side."""
        ...

    def get(self, buffer: m.BufferRef) -> Any:
        """Return a buffer with bytes that the other side has stored."""
        ...

    def reference(self, value: Any) -> m.WorkerRef | m.HostRef:
        """Return a reference to an object that is no plain data."""
        ...

    def dereference(self, reference: m.WorkerRef | m.HostRef) -> Any:
        """Return the object of a reference, or a stand-in for it."""
        ...


class Codec:
    """A serializer for one port.

    Args:
        port: this side of the connection.
        max_unsafe_keys: how many keys and members of sets may have types other than
            :data:`SAFE_KEYS`.
    """

    def __init__(self, port: Port, max_unsafe_keys: float = float("inf")) -> None:
        self.port = port
        self._unsafe_keys_left = max_unsafe_keys

    def pack(self, value: Any, depth: int = 0) -> m.Value:
        """Serialize a value.

        Raises:
            CodecError: the value is nested too deeply, or contains itself.
        """
        kind = _type_of(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            return value if MIN_INT <= value <= MAX_INT else m.BigInt(hex(value))
        if kind is str:
            return _pack_text(value)
        if depth > MAX_DEPTH:
            raise CodecError(f"nested more than {MAX_DEPTH} deep")
        if (pack := _PACK.get(kind)) is not None:
            return pack(self, value, depth + 1)
        packed = self._pack_torch(value, kind)
        if packed is None:
            packed = self._pack_numpy(value, kind, depth)
        return self._pack_other(value, kind, depth) if packed is None else packed

    def unpack(self, value: m.Value) -> Any:
        """Return the value that a message stands for.

        Raises:
            CodecError: the message is impossible, such as a shape for another number of bytes.
        """
        unpack = _UNPACK.get(type(value))
        return value if unpack is None else unpack(self, value)

    def unpack_key(self, value: m.Value) -> Any:
        """Return a key of a dictionary or a member of a set.

        Raises:
            CodecError: there are too many whose hashes the sender can choose.
        """
        if type(value) not in SAFE_KEYS:
            self._unsafe_keys_left -= 1
            if self._unsafe_keys_left < 0:
                raise CodecError("too many keys that are neither text nor plain numbers")
        return self.unpack(value)

    def _pack_torch(self, value: Any, kind: type[Any]) -> m.Value:
        """Serialize a value of torch; None for all others, also if torch is not imported."""
        torch = loaded("torch")
        if torch is None:
            return None
        if kind is torch.Tensor or kind is torch.nn.Parameter:
            return pack_torch(value, self.port.put)
        if kind is torch.dtype:
            return m.TorchName("dtype", str(value).partition(".")[2])
        if kind is torch.device:
            return m.TorchName("device", str(value))
        return m.Tuple(list(value)) if kind is torch.Size else None

    def _pack_numpy(self, value: Any, kind: type[Any], depth: int) -> m.Value:
        """Serialize a value of NumPy; None for all others, also if NumPy is not imported."""
        numpy = loaded("numpy")
        if numpy is None:
            return None
        if kind is numpy.ndarray and value.dtype.kind in NUMPY_KINDS:
            return pack_numpy(value, self.port.put)
        if isinstance(value, numpy.generic) and value.dtype.kind in NUMPY_KINDS:
            return self.pack(value.item(), depth + 1)
        return None

    def _pack_other(self, value: Any, kind: type[Any], depth: int) -> m.Value:
        """Serialize an instance of a subclass of a builtin type, or a reference."""
        if kind.__name__ == "ExecutionBlocker" and kind.__module__.startswith("comfy_execution"):
            return m.Blocked(value.message)
        if isinstance(value, str):
            return _pack_text_subclass(value)
        if isinstance(value, dict):
            return self._pack_dict_subclass(cast("dict[Any, Any]", value), depth)
        if isinstance(value, tuple) and not hasattr(cast(Any, value), "_fields"):
            return m.Tuple([self.pack(item, depth + 1) for item in cast("tuple[Any]", value)])
        if isinstance(value, list):
            return m.List([self.pack(item, depth + 1) for item in cast("list[Any]", value)])
        if isinstance(value, int):
            return self.pack(int(value), depth + 1)
        return self.port.reference(value)

    def _pack_dict_subclass(self, value: dict[Any, Any], depth: int) -> m.Value:
        items = _pack_items(self, value, depth + 1)
        if NO_SUCH_INPUT in value and not _dict_contains(value, NO_SUCH_INPUT):
            try:
                default = self.pack(value[NO_SUCH_INPUT], depth + 1)
            except (KeyError, TypeError):
                default = None
            return m.OpenDict(items, default)
        return m.Dict(items)


class AnyType(str):
    """A type name that never differs from another."""

    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


class FlexibleInputs(dict[Any, Any]):
    """Inputs of any name: those that are not listed have the default."""

    default: Any = None

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: object) -> Any:
        return self.default


def _pack_text(value: str) -> str | m.SurrogateText:
    try:
        value.encode()
    except UnicodeEncodeError:
        return m.SurrogateText(value.encode("utf-8", "surrogatepass"))
    return value


def _pack_text_subclass(value: str) -> m.Value:
    text = str.__str__(value)
    differs = value != NO_SUCH_TYPE  # "any type" of a pack never differs
    return _pack_text(text) if differs else m.AnyTypeName(text)


def _pack_items(codec: Codec, value: dict[Any, Any], depth: int) -> list[tuple[m.Value, m.Value]]:
    return [(codec.pack(key, depth), codec.pack(item, depth)) for key, item in _dict_items(value)]


def _pack_list(codec: Codec, value: list[Any], depth: int) -> m.Value:
    return m.List([codec.pack(item, depth) for item in value])


def _pack_tuple(codec: Codec, value: tuple[Any, ...], depth: int) -> m.Value:
    return m.Tuple([codec.pack(item, depth) for item in value])


def _pack_dict(codec: Codec, value: dict[Any, Any], depth: int) -> m.Value:
    return m.Dict(_pack_items(codec, value, depth))


def _pack_set(codec: Codec, value: set[Any] | frozenset[Any], depth: int) -> m.Value:
    return m.Set([codec.pack(item, depth) for item in value])


def _pack_bytes(_codec: Codec, value: bytes | bytearray, _depth: int) -> m.Value:
    return m.Bytes(bytes(value))


_PACK: dict[type, Callable[[Codec, Any, int], m.Value]] = {
    list: _pack_list,
    tuple: _pack_tuple,
    dict: _pack_dict,
    set: _pack_set,
    frozenset: _pack_set,
    bytes: _pack_bytes,
    bytearray: _pack_bytes,
}


def _unpack_reference(codec: Codec, value: m.WorkerRef | m.HostRef) -> Any:
    return codec.port.dereference(value)


def _unpack_list(codec: Codec, value: m.List) -> list[Any]:
    return [codec.unpack(item) for item in value.items]


def _unpack_tuple(codec: Codec, value: m.Tuple) -> tuple[Any, ...]:
    return tuple([codec.unpack(item) for item in value.items])


def _unpack_dict(codec: Codec, value: m.Dict | m.OpenDict) -> dict[Any, Any]:
    try:
        return {codec.unpack_key(key): codec.unpack(item) for key, item in value.items}
    except TypeError as error:
        raise CodecError(str(error)) from None


def _unpack_set(codec: Codec, value: m.Set) -> set[Any]:
    try:
        return {codec.unpack_key(item) for item in value.items}
    except TypeError as error:
        raise CodecError(str(error)) from None


def _unpack_big_int(_codec: Codec, value: m.BigInt) -> int:
    if len(value.digits) > MAX_DIGITS:
        raise CodecError(f"an integer of more than {MAX_DIGITS:,} digits")
    try:
        return int(value.digits, 16)
    except ValueError:
        raise CodecError("no integer") from None


def _unpack_surrogate_text(_codec: Codec, value: m.SurrogateText) -> str:
    try:
        return value.data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise CodecError("no text") from None


def _unpack_bytes(_codec: Codec, value: m.Bytes) -> bytes:
    return value.data


def _unpack_tensor(codec: Codec, value: m.Tensor) -> Any:
    return unpack_tensor(value, codec.port.get)


def _unpack_torch_name(_codec: Codec, value: m.TorchName) -> Any:
    torch = import_torch()
    if value.kind == "dtype" and value.name in TORCH_DTYPES:
        return getattr(torch, value.name)
    kind, _, index = value.name.partition(":")
    if (
        value.kind == "device"
        and kind in DEVICES
        and len(index) < 4
        and (not index or index.isdecimal())
    ):
        return torch.device(value.name)
    raise CodecError(f"{value.kind} {value.name}"[:200])


def _unpack_blocked(_codec: Codec, value: m.Blocked) -> Any:
    graph: Any = importlib.import_module("comfy_execution.graph")
    return graph.ExecutionBlocker(value.message)


def _unpack_any_type(_codec: Codec, value: m.AnyTypeName) -> AnyType:
    return AnyType(value.name)


def _unpack_open_dict(codec: Codec, value: m.OpenDict) -> FlexibleInputs:
    inputs = FlexibleInputs(_unpack_dict(codec, value))
    inputs.default = codec.unpack(value.default)
    return inputs


_UNPACK: dict[type, Callable[[Codec, Any], Any]] = {
    m.WorkerRef: _unpack_reference,
    m.HostRef: _unpack_reference,
    m.List: _unpack_list,
    m.Tuple: _unpack_tuple,
    m.Set: _unpack_set,
    m.Dict: _unpack_dict,
    m.BigInt: _unpack_big_int,
    m.SurrogateText: _unpack_surrogate_text,
    m.Bytes: _unpack_bytes,
    m.Tensor: _unpack_tensor,
    m.TorchName: _unpack_torch_name,
    m.Blocked: _unpack_blocked,
    m.AnyTypeName: _unpack_any_type,
    m.OpenDict: _unpack_open_dict,
}

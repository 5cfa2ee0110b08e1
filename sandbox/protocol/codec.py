"""Python values as :data:`messages.Value`, and back.

Both sides use it; each brings a :class:`Port`, which knows where tensors lie and what to do with
objects that are nobody's plain data.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

from . import messages as m

DEEPEST = 100
"""Nesting beyond which a value is refused."""
INLINE_BYTES = 16 * 2**10
"""Tensors up to here travel in the frame."""
TORCH_DTYPES = frozenset(
    {
        "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8",
        "uint16", "uint32", "uint64", "bool", "complex64", "complex128", "float8_e4m3fn",
        "float8_e5m2",
    }
)  # fmt: skip
NUMPY_KINDS = frozenset("biufc")
WIDEST = 2**63
PLAIN_KEYS = frozenset({str, int, float, bool, type(None), m.Bytes, m.Odd})
"""Of these nobody finds many with the same hash."""


class ValueTroubleError(TypeError):
    """A value that cannot cross, or a message that says something impossible."""


class Port(Protocol):
    """What one side of the border has."""

    def put(self, view: Any, size: int) -> m.BufferRef:
        """Store ``size`` bytes, a contiguous tensor on the CPU or array, for the other side."""
        ...

    def get(self, place: m.BufferRef) -> Any:
        """A buffer with what the other side stored."""
        ...

    def foreign(self, value: Any) -> m.WorkerRef | m.HostRef:
        """How an object that is no plain data crosses."""
        ...

    def native(self, value: m.WorkerRef | m.HostRef) -> Any:
        """The object, or what stands for it here."""
        ...


class Codec:
    """Packs and unpacks for one port.

    Args:
        port: what this side has.
        keys: how many keys and members of sets may be of types other than :data:`PLAIN_KEYS`.
    """

    def __init__(self, port: Port, keys: float = float("inf")) -> None:
        self.port, self._keys = port, keys

    def pack(self, value: Any, depth: int = 0) -> m.Value:
        """A value as a message.

        Raises:
            ValueTroubleError: it is nested too deeply, or holds itself.
        """
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            return value if -WIDEST <= value < 2 * WIDEST else m.Big(hex(value))
        if kind is str:
            return _text(value)
        if depth > DEEPEST:
            raise ValueTroubleError(f"nested more than {DEEPEST} deep")
        if (pack := _PLAIN.get(kind)) is not None:
            return pack(self, value, depth + 1)
        return self._library(value, kind, depth)

    def _library(self, value: Any, kind: type, depth: int) -> m.Value:
        """What is no builtin type; libraries are only asked for if they are there."""
        torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
        if torch is not None:
            if kind is torch.Tensor or kind is torch.nn.Parameter:
                return self._torch(value)
            if kind is torch.dtype:
                return m.Named("dtype", str(value).partition(".")[2])
            if kind is torch.device:
                return m.Named("device", str(value))
            if kind is torch.Size:
                return m.Tuple(list(value))
        if numpy is not None:
            if kind is numpy.ndarray and value.dtype.kind in NUMPY_KINDS:
                return self._numpy(value, numpy)
            if isinstance(value, numpy.generic) and value.dtype.kind in NUMPY_KINDS:
                return self.pack(value.item(), depth + 1)
        if kind.__name__ == "ExecutionBlocker" and kind.__module__.startswith("comfy_execution"):
            return m.Blocked(value.message)
        if isinstance(value, str):
            return self._strange_text(value)
        if isinstance(value, dict):
            return self._strange_dict(value, depth)
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return m.Tuple([self.pack(one, depth + 1) for one in value])
        if isinstance(value, list):
            return m.List([self.pack(one, depth + 1) for one in value])
        if isinstance(value, int):
            return self.pack(int(value), depth + 1)
        return self.port.foreign(value)

    def _strange_text(self, value: str) -> m.Value:
        plain = str.__str__(value)
        differs = value != "\0 no such type"  # what "any type" says it never does
        return _text(plain) if differs else m.Any_(plain)

    def _strange_dict(self, value: dict[Any, Any], depth: int) -> m.Value:
        items = _items(self, value, depth + 1)
        probe = "\0 no such input"
        if probe in value and not dict.__contains__(value, probe):
            try:
                default = self.pack(value[probe], depth + 1)
            except (KeyError, TypeError):
                default = None
            return m.Flexible(items, default)
        return m.Dict(items)

    def _torch(self, value: Any) -> m.Tensor:
        import torch

        dtype = str(value.dtype).partition(".")[2]
        if dtype not in TORCH_DTYPES or value.layout is not torch.strided:
            raise ValueTroubleError(f"tensor of {value.dtype}, {value.layout}")
        shape, size = list(value.shape), value.numel() * value.element_size()
        plain = value.is_cpu and value.is_contiguous() and not (value.is_conj() or value.is_neg())
        order = None if plain else _order(value)
        if not plain:
            value = value.detach().resolve_conj().resolve_neg().to("cpu")
            value = (value if order is None else value.permute(order)).contiguous()
        if size <= INLINE_BYTES:
            flat = value.detach().reshape(-1)
            data = flat.view(torch.uint8).numpy().tobytes() if size else b""
            return m.Tensor("torch", dtype, shape, data=data, order=order)
        return m.Tensor("torch", dtype, shape, place=self.port.put(value, size), order=order)

    def _numpy(self, value: Any, numpy: Any) -> m.Tensor:
        dtype, shape = value.dtype.str, list(value.shape)
        if value.nbytes <= INLINE_BYTES:
            return m.Tensor("numpy", dtype, shape, data=value.tobytes())
        flat = numpy.ascontiguousarray(value).reshape(-1).view(numpy.uint8)
        return m.Tensor("numpy", dtype, shape, place=self.port.put(flat, flat.nbytes))

    def unpack(self, value: m.Value) -> Any:
        """The value that a message stands for.

        Raises:
            ValueTroubleError: it says something impossible, such as a shape of other bytes.
        """
        kind = type(value)
        if (unpack := _UNPACK.get(kind)) is not None:
            return unpack(self, value)
        if kind is m.WorkerRef or kind is m.HostRef:
            return self.port.native(value)  # type: ignore[arg-type]
        return value

    def key(self, value: m.Value) -> Any:
        """The same, of a key or a member of a set.

        Raises:
            ValueTroubleError: there are too many whose hashes can be chosen.
        """
        if type(value) not in PLAIN_KEYS:
            self._keys -= 1
            if self._keys < 0:
                raise ValueTroubleError("too many keys that are neither text nor plain numbers")
        return self.unpack(value)

    def _tensor(self, value: m.Tensor) -> Any:
        if (value.data is None) == (value.place is None):
            raise ValueTroubleError("a tensor lies in one place")
        if any(length < 0 for length in value.shape) or len(value.shape) > 32:
            raise ValueTroubleError(f"shape {value.shape[:40]}")
        data: Any = bytearray(value.data) if value.data is not None else None
        if value.kind == "torch" and value.dtype in TORCH_DTYPES:
            return self._to_torch(value, data)
        if value.kind == "numpy" and _is_numpy(value.dtype):
            return self._to_numpy(value, data)
        raise ValueTroubleError(f"tensor of {value.kind} {value.dtype}"[:200])

    def _to_torch(self, value: m.Tensor, data: Any) -> Any:
        import torch

        dtype = getattr(torch, value.dtype)
        count = _count(value, dtype.itemsize, data)
        if not count:
            return torch.empty(value.shape, dtype=dtype)
        data = data if value.place is None else self.port.get(value.place)
        found = torch.frombuffer(data, dtype=dtype, count=count)
        if value.order is None:
            return found.reshape(value.shape)
        if sorted(value.order) != list(range(len(value.shape))):
            raise ValueTroubleError(f"order {value.order[:40]}")
        found = found.reshape([value.shape[i] for i in value.order])
        return found.permute([value.order.index(i) for i in range(len(value.order))])

    def _to_numpy(self, value: m.Tensor, data: Any) -> Any:
        import numpy

        dtype = numpy.dtype(value.dtype)
        count = _count(value, dtype.itemsize, data)
        if not count:
            return numpy.empty(value.shape, dtype=dtype)
        data = data if value.place is None else self.port.get(value.place)
        return numpy.frombuffer(data, dtype=dtype, count=count).reshape(value.shape)


def _order(value: Any) -> list[int] | None:
    """Dimensions of a tensor from slowest to fastest, None if that is as they are numbered."""
    if value.is_contiguous():
        return None
    strides = value.stride()
    order = sorted(range(value.ndim), key=lambda i: -strides[i])
    return order if value.permute(order).is_contiguous() else None


def _count(value: m.Tensor, item: int, data: bytearray | None) -> int:
    """Number of elements, if the bytes are as many as the shape says."""
    count = 1
    for length in value.shape:
        count *= length
    found = len(data) if data is not None else value.place.size if value.place else -1
    if count * item != found:
        raise ValueTroubleError(f"{found} bytes for a shape of {count} x {item}")
    return count


def _is_numpy(name: str) -> bool:
    return (
        2 < len(name) < 5
        and name[0] in "<|="
        and name[1] in NUMPY_KINDS
        and name[2:] in {"1", "2", "4", "8", "16"}
    )


def _text(value: str) -> str | m.Odd:
    try:
        value.encode()
    except UnicodeEncodeError:
        return m.Odd(value.encode("utf-8", "surrogatepass"))
    return value


def _items(codec: Codec, value: dict[Any, Any], depth: int) -> list[tuple[m.Value, m.Value]]:
    return [(codec.pack(k, depth), codec.pack(v, depth)) for k, v in dict.items(value)]


_PLAIN: dict[type, Any] = {
    list: lambda c, v, d: m.List([c.pack(one, d) for one in v]),
    tuple: lambda c, v, d: m.Tuple([c.pack(one, d) for one in v]),
    dict: lambda c, v, d: m.Dict(_items(c, v, d)),
    set: lambda c, v, d: m.Set([c.pack(one, d) for one in v]),
    frozenset: lambda c, v, d: m.Set([c.pack(one, d) for one in v]),
    bytes: lambda c, v, d: m.Bytes(v),
    bytearray: lambda c, v, d: m.Bytes(bytes(v)),
}


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


def _blocked(_codec: Codec, value: m.Blocked) -> Any:
    from comfy_execution.graph import ExecutionBlocker

    return ExecutionBlocker(value.message)


def _named(_codec: Codec, value: m.Named) -> Any:
    import torch

    if value.kind == "dtype" and value.name in TORCH_DTYPES:
        return getattr(torch, value.name)
    kind, _, index = value.name.partition(":")
    known = value.kind == "device" and kind in {"cpu", "cuda", "mps", "meta"}
    if known and len(index) < 4 and (not index or index.isdecimal()):
        return torch.device(value.name)
    raise ValueTroubleError(f"{value.kind} {value.name}"[:200])


def _flexible(codec: Codec, value: m.Flexible) -> Any:
    found = FlexibleInputs(_dict(codec, value))
    found.default = codec.unpack(value.default)
    return found


def _dict(codec: Codec, value: m.Dict | m.Flexible) -> dict[Any, Any]:
    try:
        return {codec.key(k): codec.unpack(v) for k, v in value.items}
    except TypeError as error:
        raise ValueTroubleError(str(error)) from None


def _set(codec: Codec, value: m.Set) -> set[Any]:
    try:
        return {codec.key(one) for one in value.items}
    except TypeError as error:
        raise ValueTroubleError(str(error)) from None


def _big(_codec: Codec, value: m.Big) -> int:
    if len(value.digits) > 10_000:
        raise ValueTroubleError("an integer of more than 10,000 digits")
    try:
        return int(value.digits, 16)
    except ValueError:
        raise ValueTroubleError("no integer") from None


def _odd(_codec: Codec, value: m.Odd) -> str:
    try:
        return value.data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise ValueTroubleError("no text") from None


_UNPACK: dict[type, Any] = {
    m.List: lambda c, v: [c.unpack(one) for one in v.items],
    m.Tuple: lambda c, v: tuple([c.unpack(one) for one in v.items]),
    m.Set: _set,
    m.Dict: _dict,
    m.Big: _big,
    m.Odd: _odd,
    m.Bytes: lambda c, v: v.data,
    m.Tensor: Codec._tensor,
    m.Named: _named,
    m.Blocked: _blocked,
    m.Any_: lambda c, v: AnyType(v.name),
    m.Flexible: _flexible,
}

"""Tensors and arrays as values: small ones inside the frame, large ones in shared memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import messages as m
from .exceptions import CodecError
from .libraries import import_numpy, import_torch

INLINE_BYTES = 16 * 2**10
"""Largest tensor inside a frame."""
TORCH_DTYPES = frozenset(
    {
        "float16",
        "bfloat16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
        "complex64",
        "complex128",
        "float8_e4m3fn",
        "float8_e5m2",
    }
)
NUMPY_KINDS = frozenset("biufc")
MAX_DIMENSIONS = 32

Put = Callable[[Any, int], m.BufferRef]
Get = Callable[[m.BufferRef], Any]


def pack_torch(value: Any, put: Put) -> m.Tensor:
    """Serialize a tensor of torch.

    Raises:
        CodecError: its type or its layout cannot be sent.
    """
    torch = import_torch()
    dtype = str(value.dtype).partition(".")[2]
    if dtype not in TORCH_DTYPES or value.layout is not torch.strided:
        raise CodecError(f"tensor of {value.dtype}, {value.layout}")
    shape: list[int] = list(value.shape)
    size: int = value.numel() * value.element_size()
    plain = value.is_cpu and value.is_contiguous() and not (value.is_conj() or value.is_neg())
    order = None if plain else _memory_order(value)
    if not plain:
        value = value.detach().resolve_conj().resolve_neg().to("cpu")
        value = (value if order is None else value.permute(order)).contiguous()
    if size <= INLINE_BYTES:
        flat = value.detach().reshape(-1)
        data: bytes = flat.view(torch.uint8).numpy().tobytes() if size else b""
        return m.Tensor("torch", dtype, shape, data=data, order=order)
    return m.Tensor("torch", dtype, shape, buffer=put(value, size), order=order)


def pack_numpy(value: Any, put: Put) -> m.Tensor:
    """Serialize an array of NumPy."""
    numpy = import_numpy()
    dtype: str = value.dtype.str
    shape: list[int] = list(value.shape)
    if value.nbytes <= INLINE_BYTES:
        return m.Tensor("numpy", dtype, shape, data=value.tobytes())
    flat = numpy.ascontiguousarray(value).reshape(-1).view(numpy.uint8)
    return m.Tensor("numpy", dtype, shape, buffer=put(flat, flat.nbytes))


def unpack_tensor(value: m.Tensor, get: Get) -> Any:
    """Return the tensor or array that a message describes.

    Raises:
        CodecError: the description is impossible, such as a shape for another number of bytes.
    """
    if (value.data is None) == (value.buffer is None):
        raise CodecError("a tensor needs either data or a buffer")
    if any(length < 0 for length in value.shape) or len(value.shape) > MAX_DIMENSIONS:
        raise CodecError(f"shape {value.shape[:40]}")
    if value.kind == "torch" and value.dtype in TORCH_DTYPES:
        return _unpack_torch(value, get)
    if value.kind == "numpy" and _is_numpy_dtype(value.dtype):
        return _unpack_numpy(value, get)
    raise CodecError(f"tensor of {value.kind} {value.dtype}"[:200])


def _unpack_torch(value: m.Tensor, get: Get) -> Any:
    torch = import_torch()
    dtype = getattr(torch, value.dtype)
    count = _element_count(value, dtype.itemsize)
    if not count:
        return torch.empty(value.shape, dtype=dtype)
    tensor = torch.frombuffer(_content(value, get), dtype=dtype, count=count)
    if value.order is None:
        return tensor.reshape(value.shape)
    if sorted(value.order) != list(range(len(value.shape))):
        raise CodecError(f"order {value.order[:40]}")
    tensor = tensor.reshape([value.shape[i] for i in value.order])
    return tensor.permute([value.order.index(i) for i in range(len(value.order))])


def _unpack_numpy(value: m.Tensor, get: Get) -> Any:
    numpy = import_numpy()
    dtype = numpy.dtype(value.dtype)
    count = _element_count(value, dtype.itemsize)
    if not count:
        return numpy.empty(value.shape, dtype=dtype)
    return numpy.frombuffer(_content(value, get), dtype=dtype, count=count).reshape(value.shape)


def _content(value: m.Tensor, get: Get) -> Any:
    """Return a writable buffer with the elements."""
    return bytearray(value.data or b"") if value.buffer is None else get(value.buffer)


def _memory_order(value: Any) -> list[int] | None:
    """Return the dimensions from slowest to fastest, None if that is the usual order."""
    if value.is_contiguous():
        return None
    strides: list[int] = list(value.stride())
    order = sorted(range(value.ndim), key=lambda i: -strides[i])
    return order if value.permute(order).is_contiguous() else None


def _element_count(value: m.Tensor, item_size: int) -> int:
    """Return the number of elements.

    Raises:
        CodecError: the number of bytes does not fit the shape.
    """
    count = 1
    for length in value.shape:
        count *= length
    size = len(value.data or b"") if value.buffer is None else value.buffer.size
    if count * item_size != size:
        raise CodecError(f"{size} bytes for a shape of {count} x {item_size}")
    return count


def _is_numpy_dtype(name: str) -> bool:
    """Return whether a name is that of a number type of NumPy, such as ``<f4``."""
    return (
        2 < len(name) < 5
        and name[0] in "<|="
        and name[1] in NUMPY_KINDS
        and name[2:] in {"1", "2", "4", "8", "16"}
    )

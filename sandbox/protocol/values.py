"""Types of the values that messages carry.

Numbers and text are sent as they are, everything else as one of these types. None of them names
code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, dataclass_transform

if TYPE_CHECKING:
    from dataclasses import field as field

    @dataclass_transform(field_specifiers=(field,))
    class Struct:
        """A message or a part of one."""

        def __init_subclass__(
            cls,
            tag: str | None = None,
            frozen: bool = False,
            rename: dict[str, str] | None = None,
        ) -> None: ...

else:
    from msgspec import Struct as _Struct
    from msgspec import field as field

    class Struct(_Struct, tag_field="@"):
        """A message or a part of one; the key ``@`` has its type, so fields may have any name."""


class List(Struct, tag="l"):
    """A list."""

    items: list[Value]


class Tuple(Struct, tag="u"):
    """A tuple."""

    items: list[Value]


class Set(Struct, tag="s"):
    """A set or frozenset."""

    items: list[Value]


class Dict(Struct, tag="d"):
    """A dictionary, as pairs: keys may be of any type."""

    items: list[tuple[Value, Value]]


class BigInt(Struct, tag="b"):
    """An integer beyond 64 bits, in hexadecimal."""

    digits: str


class SurrogateText(Struct, tag="o"):
    """Text with lone surrogates, in UTF-8 with ``surrogatepass``."""

    data: bytes


class Bytes(Struct, tag="y"):
    """A byte string."""

    data: bytes


class BufferRef(Struct, frozen=True, rename={"chunk": "arena"}):
    """A reference to bytes in shared memory of the sender.

    Attributes:
        chunk: number of the chunk of shared memory.
        offset: in bytes.
        size: in bytes.
        lease: number to return with :class:`~.messages.Returned` when nothing refers to the bytes.
    """

    chunk: int
    offset: int
    size: int
    lease: int


class Tensor(Struct, tag="t", rename={"buffer": "place"}):
    """A tensor or array of contiguous elements, in the frame or in shared memory.

    Attributes:
        kind: ``torch`` or ``numpy``.
        dtype: name of a torch type, or NumPy's ``dtype.str``.
        shape: of the tensor.
        data: the elements, if they are in the frame.
        buffer: the elements, if they are in shared memory.
        order: dimensions from the slowest to the fastest, None for the usual order. The last bit of
            a sum depends on the order in memory.
    """

    kind: str
    dtype: str
    shape: list[int]
    data: bytes | None = None
    buffer: BufferRef | None = None
    order: list[int] | None = None


class TorchName(Struct, tag="n"):
    """A ``torch.dtype`` or ``torch.device`` by its name."""

    kind: str
    name: str


class Blocked(Struct, tag="x"):
    """ComfyUI's ``ExecutionBlocker``."""

    message: str | None


class AnyTypeName(Struct, tag="a"):
    """A type name that equals all others, as packs use for "any type"."""

    name: str


class OpenDict(Struct, tag="f"):
    """A dictionary of inputs that claims to contain every name."""

    items: list[tuple[Value, Value]]
    default: Value


class WorkerRef(Struct, tag="h"):
    """A reference to an object in the worker.

    Attributes:
        number: the worker's number of the object.
        name: for messages.
        calls: whether the object can be called.
    """

    number: int
    name: str
    calls: bool = False


class HostRef(Struct, tag="m"):
    """A reference to an object in the host, such as a MODEL.

    Attributes:
        number: the host's number of the object.
        kind: which operations the object has, see :mod:`.operations`.
        type: ComfyUI's classes of the object, see :func:`.operations.class_of`.
    """

    number: int
    kind: str
    type: str = ""


Value = (
    None
    | bool
    | int
    | float
    | str
    | Bytes
    | List
    | Tuple
    | Set
    | Dict
    | BigInt
    | SurrogateText
    | Tensor
    | TorchName
    | Blocked
    | AnyTypeName
    | OpenDict
    | WorkerRef
    | HostRef
)

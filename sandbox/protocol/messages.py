"""What host and worker say to each other: closed types, decoded by msgspec.

A frame is one msgpack document of one of the types in :data:`FromHost` or :data:`FromWorker`. What
does not decode ends the connection. Values inside are of :data:`Value`: numbers and text as they
are, everything else in a type of its own; none of them names code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, dataclass_transform

import msgspec

if TYPE_CHECKING:
    from dataclasses import field

    @dataclass_transform(field_specifiers=(field,))
    class Struct:
        def __init_subclass__(cls, tag: str | None = None, frozen: bool = False) -> None: ...

else:
    field = msgspec.field

    class Struct(msgspec.Struct, tag_field="@"):
        """One whose kind is told beside its fields, which may have any name."""


FRAME_BYTES = 256 * 2**20
"""Largest frame. Tensors travel beside it, in arenas."""
FILE = "\0zimage file"
"""The key of a dictionary that stands for the unchanged content of a file."""
PREVIEW = "\0zimage preview"
"""The key of a dictionary that stands for ComfyUI's own callback with previews."""


class List(Struct, tag="l"):
    items: list[Value]


class Tuple(Struct, tag="u"):
    items: list[Value]


class Set(Struct, tag="s"):
    items: list[Value]


class Dict(Struct, tag="d"):
    items: list[tuple[Value, Value]]


class Big(Struct, tag="b"):
    """An integer beyond 64 bits, in hexadecimal."""

    digits: str


class Odd(Struct, tag="o"):
    """Text that UTF-8 cannot carry: UTF-8 with surrogates let through."""

    data: bytes


class Bytes(Struct, tag="y"):
    data: bytes


class BufferRef(Struct, frozen=True):
    """Where bytes lie: in an arena of the sender, or in a file handed over for them alone.

    Attributes:
        arena: number of the arena.
        offset: in bytes.
        size: in bytes.
        lease: to be given back with :class:`Returned` once nothing refers to the bytes.
    """

    arena: int
    offset: int
    size: int
    lease: int


class Tensor(Struct, tag="t"):
    """Contiguous elements, as bytes here or at a place.

    ``kind`` is ``torch`` or ``numpy``; ``dtype`` one of the names in ``values``; ``order`` the
    dimensions from the slowest to the fastest, if that is not their own order: what comes out of a
    sum depends on it in the last bit.
    """

    kind: str
    dtype: str
    shape: list[int]
    data: bytes | None = None
    place: BufferRef | None = None
    order: list[int] | None = None


class Named(Struct, tag="n"):
    """A ``torch.dtype`` or ``torch.device`` by its name."""

    kind: str
    name: str


class Blocked(Struct, tag="x"):
    """ComfyUI's ``ExecutionBlocker``."""

    message: str | None


class Any_(Struct, tag="a"):
    """A type name that is equal to all others, as nodes have for "any type"."""

    name: str


class Flexible(Struct, tag="f"):
    """A dictionary of inputs that says it has every name."""

    items: list[tuple[Value, Value]]
    default: Value


class WorkerRef(Struct, tag="h"):
    """An object that stays in the worker.

    ``number`` is the worker's; ``name`` is for messages; ``calls`` is True for what can be called.
    """

    number: int
    name: str
    calls: bool = False


class HostRef(Struct, tag="m"):
    """An object that stays in the host, such as a MODEL.

    ``number`` is the host's; ``kind`` says which operations it has, ``type`` of which of ComfyUI's
    classes it is (see ``kinds``).
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
    | Big
    | Odd
    | Tensor
    | Named
    | Blocked
    | Any_
    | Flexible
    | WorkerRef
    | HostRef
)


class Context(Struct):
    """What ComfyUI knows while a node runs: prompt, node and index in a list of inputs."""

    prompt: str
    node: str
    index: int | None = None
    client: str | None = None
    prefix: list[str | int | None] | None = None


class Begin(Struct, tag="begin"):
    """The first frame: which pack this worker is for, and what it may do.

    Attributes:
        path: folder or file of the pack, as the host writes it.
        parent: what ComfyUI calls the folder of packs, ``custom_nodes``.
        ignore: names of nodes that the host has itself.
        directories: ``output``, ``input``, ``temp`` and ``user`` folders.
        folders: kinds of model, with their folders and suffixes.
        jail: what is granted (see ``confinement``), or None for no confinement.
        environment: variables that replace those of the template.
        quota: bytes that may lie in this worker's arena.
    """

    path: str
    parent: str
    ignore: list[str]
    directories: dict[str, str]
    folders: dict[str, tuple[list[str], list[str]]]
    jail: dict[str, list[str] | bool | int] | None
    environment: dict[str, str]
    quota: int


class Function(Struct):
    """A function of a node class: parameters that it names, whether it takes others."""

    name: str
    arguments: list[str]
    open: bool
    coroutine: bool


class NodeInfo(Struct):
    """One node class, as the host needs it.

    Attributes:
        attributes: of the class, those that ComfyUI reads; of a V3 class, those of its schema.
        inputs: what ``INPUT_TYPES`` gave.
        info: what a V3 class says of itself for ``/object_info``.
        functions: by their role: ``run``, ``changed``, ``validate``, ``lazy``.
        dynamic: its inputs depend on files, so they are asked for anew.
        trouble: why its inputs are not known.
    """

    name: str
    display: str | None
    v3: bool
    attributes: Value
    inputs: Value
    info: Value
    functions: dict[str, Function]
    dynamic: bool
    trouble: str = ""


class PackInfo(Struct):
    """What a pack is, once it was imported.

    Attributes:
        loaded: as ComfyUI judges it.
        trace: the end of what went wrong.
        missing: a library that it did not find.
        web: folders of the page, by name.
        routes: method and path.
        static: folders that are served as they are, by the beginning of their paths.
        folders: kinds of model it has registered or changed.
        patched: functions and classes of ComfyUI that it has replaced in its process.
        handlers: what it has hung into the server that cannot be outside, such as ``middleware``.
        names: display names of nodes.
        taken: nodes of it that ComfyUI has itself.
        looked_at: files and folders that its inputs depend on.
        state: of these, as the host saw them then.
    """

    loaded: bool
    nodes: list[NodeInfo]
    trace: str = ""
    missing: str = ""
    web: dict[str, str] = field(default_factory=dict)
    routes: list[tuple[str, str]] = field(default_factory=list)
    static: dict[str, str] = field(default_factory=dict)
    folders: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    patched: list[str] = field(default_factory=list)
    handlers: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    looked_at: list[str] = field(default_factory=list)
    state: str = ""


class Inputs(Struct):
    """Inputs of nodes as they are now: what a :class:`NodeInfo` has as ``inputs`` and ``info``.

    Attributes:
        looked_at: files and folders that they depend on.
    """

    nodes: dict[str, tuple[Value, Value]]
    looked_at: list[str]


class Call(Struct, tag="call"):
    """Run something in the worker.

    Attributes:
        number: answered by :class:`Done` or :class:`Failed` with the same one.
        what: ``node`` (a function of a node), ``class`` (of its class), ``object`` (call one of
            its objects), ``describe``, ``inputs``, ``route``.
        inside: number of the question that the caller is answering, or 0: the call is run by
            whoever asked.
        name: node class, or route.
        function: name of the node's function.
        instance: which instance of the node.
    """

    number: int
    what: str
    inside: int = 0
    name: str = ""
    function: str = ""
    instance: int = 0
    arguments: Value = None
    hidden: Value = None
    context: Context | None = None


class HostResponse(Struct, tag="answer"):
    """The answer to a :class:`Question`; ``error`` is what to raise."""

    number: int
    value: Value = None
    error: ErrorInfo | None = None


class Cancel(Struct, tag="cancel"):
    """The call is not wanted any more."""

    number: int


class Forget(Struct, tag="forget"):
    """Objects or node instances of the worker that nobody in the host has any more."""

    objects: list[tuple[int, int]] = field(default_factory=list)
    instances: list[int] = field(default_factory=list)


class Returned(Struct, tag="returned"):
    """Leases that may be used again."""

    leases: list[int]


class Dropped(Struct, tag="dropped"):
    """Arenas of the sender that are no more; what they took is free once nobody has them open."""

    arenas: list[int]


class ErrorInfo(Struct):
    """An exception, as text; ``kind`` is ``error``, ``interrupted`` or ``memory``."""

    kind: str
    type: str
    message: str
    trace: str = ""


class Done(Struct, tag="done"):
    number: int
    value: Value = None


class Failed(Struct, tag="failed"):
    number: int
    trouble: ErrorInfo


class HostRequest(Struct, tag="question"):
    """Asked of the host while a call is running.

    ``target`` is an object of the host, or None for a function that the host offers by ``name``.
    """

    number: int
    inside: int
    target: HostRef | None
    name: str
    arguments: Value = None


class Event(Struct, tag="event"):
    """To be told to the page: ``progress``, ``preview``, ``send`` or ``text``."""

    kind: str
    inside: int
    value: Value = None


class Heartbeat(Struct, tag="beat"):
    """A sign of life; ``busy`` is the number of calls that are running."""

    busy: int


class Ready(Struct, tag="ready"):
    """The worker has confined itself; ``report`` says with what."""

    report: dict[str, dict[str, str]]


FromHost = Call | HostResponse | Cancel | Forget | Returned | Dropped
FromWorker = Done | Failed | HostRequest | Event | Heartbeat | Ready | Forget | Returned | Dropped

encode = msgspec.msgpack.Encoder().encode
begin = msgspec.msgpack.Decoder(Begin).decode
inputs = msgspec.msgpack.Decoder(Inputs).decode
node_info = msgspec.msgpack.Decoder(NodeInfo).decode
pack_info = msgspec.msgpack.Decoder(PackInfo).decode
from_host = msgspec.msgpack.Decoder(FromHost).decode
from_worker = msgspec.msgpack.Decoder(FromWorker).decode

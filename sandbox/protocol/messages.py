"""Messages between host and worker: closed types, decoded by msgspec.

A frame is one msgpack document of one of the types in :data:`FromHost` or :data:`FromWorker`. The
receiver closes the connection if a frame does not decode. This module is imported as ``m``, since
its names, such as ``m.Call`` and ``m.List``, say little without a prefix.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .values import (
    AnyTypeName,
    BigInt,
    Blocked,
    BufferRef,
    Bytes,
    Dict,
    HostRef,
    List,
    OpenDict,
    Set,
    Struct,
    SurrogateText,
    Tensor,
    TorchName,
    Tuple,
    Value,
    WorkerRef,
    field,
)

__all__ = [
    "AnyTypeName",
    "BigInt",
    "Blocked",
    "BufferRef",
    "Bytes",
    "Dict",
    "HostRef",
    "List",
    "OpenDict",
    "Set",
    "SurrogateText",
    "Tensor",
    "TorchName",
    "Tuple",
    "Value",
    "WorkerRef",
]
"""The types of values, so that ``m`` has all that a message is made of."""

FRAME_BYTES = 256 * 2**20
"""Largest frame. Tensors are not in frames but in shared memory."""
FILE = "\0zimage file"
"""The key of a dictionary that stands for the unchanged content of a file."""
PREVIEW = "\0zimage preview"
"""The key of a dictionary that stands for ComfyUI's own callback with previews."""


class Context(Struct):
    """ComfyUI's execution context of a node: prompt, node and index in a list of inputs."""

    prompt: str
    node: str
    index: int | None = None
    client: str | None = None
    prefix: list[str | int | None] | None = None


class Begin(Struct, tag="begin"):
    """The first frame: the pack of this worker and its permissions.

    Attributes:
        path: folder or file of the pack, as the host writes it.
        parent: what ComfyUI calls the folder of packs, ``custom_nodes``.
        ignore: names of nodes that ComfyUI itself has.
        directories: ``output``, ``input``, ``temp`` and ``user`` folders.
        folders: kinds of model, with their folders and suffixes.
        jail: permissions (see ``confinement``), or None for no confinement.
        environment: variables that replace those of the template.
        quota: bytes that this worker may have in shared memory.
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
    """A function of a node class.

    Attributes:
        name: of the function.
        arguments: names of its parameters.
        open: whether it takes other keyword arguments as well.
        coroutine: whether it is asynchronous.
    """

    name: str
    arguments: list[str]
    open: bool
    coroutine: bool


class NodeInfo(Struct, rename={"error": "trouble"}):
    """One node class, as the host needs it.

    Attributes:
        attributes: of the class, those that ComfyUI reads; of a V3 class, those of its schema.
        inputs: what ``INPUT_TYPES`` gave.
        info: the entry of a V3 class in ``/object_info``.
        functions: by role: ``run``, ``changed``, ``validate``, ``lazy``.
        dynamic: whether its inputs depend on files, so that they are read again.
        error: why its inputs are not known.
    """

    name: str
    display: str | None
    v3: bool
    attributes: Value
    inputs: Value
    info: Value
    functions: dict[str, Function]
    dynamic: bool
    error: str = ""


class PackInfo(Struct):
    """A pack as its import in the worker showed it.

    Attributes:
        loaded: whether the import succeeded by ComfyUI's rules.
        nodes: its node classes.
        trace: the end of the traceback if the import failed.
        missing: a library that the import did not find.
        web: folders for the page, by name.
        routes: method and path.
        static: folders that are served unchanged, by path prefix.
        folders: kinds of model that it has registered or changed.
        patched: functions and classes of ComfyUI that it has replaced in its process.
        handlers: server hooks that have no effect outside of the sandbox, such as ``middleware``.
        names: display names of nodes.
        taken: its nodes whose names ComfyUI already has.
        looked_at: files and folders that its inputs depend on.
        state: of these files, as the host saw it when the description was made.
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
    """Current inputs of nodes.

    Attributes:
        nodes: ``inputs`` and ``info`` of a :class:`NodeInfo`, by name of the node.
        looked_at: files and folders that they depend on.
    """

    nodes: dict[str, tuple[Value, Value]]
    looked_at: list[str]


class Call(Struct, tag="call"):
    """Run something in the worker.

    Attributes:
        number: :class:`Done` or :class:`Failed` for this call has the same number.
        what: ``node`` (a method of a node), ``class`` (a method of its class), ``object`` (call one
            of the worker's objects), ``describe``, ``inputs``, ``route``.
        inside: number of the :class:`HostRequest` during which the host makes this call, or 0. The
            thread that waits for that request runs the call.
        name: node class, or route.
        function: name of the node's method.
        instance: number of the node's instance or of the worker's object.
        arguments: of the function.
        hidden: ComfyUI's hidden inputs.
        context: of the node.
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
    """The response to a :class:`HostRequest`: a value, or an error to raise."""

    number: int
    value: Value = None
    error: ErrorInfo | None = None


class Cancel(Struct, tag="cancel"):
    """Interrupt a call."""

    number: int


class Forget(Struct, tag="forget"):
    """Decrease the reference counts of objects, and delete node instances.

    Attributes:
        objects: number of the object and how many references ended.
        instances: numbers of node instances.
    """

    objects: list[tuple[int, int]] = field(default_factory=list)
    instances: list[int] = field(default_factory=list)


class Returned(Struct, tag="returned"):
    """Return leases: the sender of the bytes may reuse their memory."""

    leases: list[int]


class Dropped(Struct, tag="dropped"):
    """Name chunks of shared memory that the sender has closed, so that the receiver closes them."""

    arenas: list[int]


class ErrorInfo(Struct):
    """An exception as text.

    Attributes:
        kind: ``error``, ``interrupted`` or ``memory``.
        type: name of its class.
        message: its text.
        trace: the traceback, if the receiver may see it.
    """

    kind: str
    type: str
    message: str
    trace: str = ""


class Done(Struct, tag="done"):
    """The result of a call."""

    number: int
    value: Value = None


class Failed(Struct, tag="failed", rename={"error": "trouble"}):
    """The exception of a call."""

    number: int
    error: ErrorInfo


class HostRequest(Struct, tag="question"):
    """Ask the host for something while a call is running.

    Attributes:
        number: the :class:`HostResponse` has the same number.
        inside: number of the call.
        target: an object of the host, or None for one of the host's functions.
        name: the operation of the object, or the function.
        arguments: positional and keyword arguments.
    """

    number: int
    inside: int
    target: HostRef | None
    name: str
    arguments: Value = None


class Event(Struct, tag="event"):
    """Tell the page something during a call.

    Attributes:
        kind: ``progress``, ``preview``, ``send`` or ``text``.
        inside: number of the call, 0 outside of any.
        value: depends on the kind.
    """

    kind: str
    inside: int
    value: Value = None


class Heartbeat(Struct, tag="beat"):
    """Show that the worker is alive; ``busy`` is the number of calls that are running."""

    busy: int


class Ready(Struct, tag="ready"):
    """Report that the worker has confined itself, and by which mechanisms."""

    report: dict[str, dict[str, str]]


FromHost = Call | HostResponse | Cancel | Forget | Returned | Dropped
FromWorker = Done | Failed | HostRequest | Event | Heartbeat | Ready | Forget | Returned | Dropped

_msgpack: Any = importlib.import_module("msgspec.msgpack")  # typed here: the checks run without it

encode: Callable[[Any], bytes] = _msgpack.Encoder().encode
begin: Callable[[bytes], Begin] = _msgpack.Decoder(Begin).decode
inputs: Callable[[bytes], Inputs] = _msgpack.Decoder(Inputs).decode
node_info: Callable[[bytes], NodeInfo] = _msgpack.Decoder(NodeInfo).decode
pack_info: Callable[[bytes], PackInfo] = _msgpack.Decoder(PackInfo).decode
from_host: Callable[[bytes], FromHost] = _msgpack.Decoder(FromHost).decode
from_worker: Callable[[bytes], FromWorker] = _msgpack.Decoder(FromWorker).decode

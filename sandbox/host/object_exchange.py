"""Objects and buffers that host and worker refer to in their messages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..protocol import messages as m
from ..protocol.codec import Codec
from ..protocol.exceptions import CodecError
from .arenas import Arenas
from .inbound import CopiedBytes
from .object_table import HostObjects
from .worker_objects import Callback, Handle, ObjectOwner


class ObjectExchange:
    """The codec's port for one worker.

    Args:
        owner: the session with the worker.
        quota: bytes that each side may have in shared memory.
        send_descriptor: sends the worker a descriptor with a number.

    Attributes:
        codec: packs values for the worker.
        host_objects: the objects of the host that the worker refers to.
        copied: bytes that the host has copied for the worker's requests.
        handle_count: handles that the host has for objects of the worker.
        arenas: the shared memory.
    """

    def __init__(
        self, owner: ObjectOwner, quota: int, send_descriptor: Callable[[int, int], None]
    ) -> None:
        self.codec = Codec(self)
        self.quota = quota
        self.host_objects = HostObjects()
        self.copied = CopiedBytes()
        self.handle_count = 0
        self.arenas = Arenas(quota, send_descriptor)
        self._owner = owner
        self._unused_objects: deque[int] = deque()
        self._unused_instances: deque[int] = deque()

    def put(self, view: Any, size: int) -> m.BufferRef:
        """See :class:`codec.Port`."""
        return self.arenas.put(view, size)

    def get(self, buffer: m.BufferRef) -> Any:
        """Return a copy of a buffer, since the worker can still write to it."""
        return self.arenas.copy(buffer)

    def reference(self, value: Any) -> m.WorkerRef | m.HostRef:
        """See :class:`codec.Port`.

        Raises:
            CodecError: the object is in another worker.
        """
        if not isinstance(value, Handle):
            return self.host_objects.reference(value)
        if value.owner is not self._owner:
            name = self._owner.name
            restarted = ", which was restarted since" if value.owner.name == name else ""
            raise CodecError(
                f"{value!r} is of use to nodes of that pack only, not of {name}{restarted}"
            )
        return m.WorkerRef(value.number, value.name)

    def dereference(self, reference: m.WorkerRef | m.HostRef) -> Any:
        """See :class:`codec.Port`."""
        if isinstance(reference, m.HostRef):
            return self.host_objects.find(reference.number)
        self.handle_count += 1
        kind = Callback if reference.calls else Handle
        return kind(self._owner, reference.number, reference.name)

    def forget(self, number: int) -> None:
        """Note that a handle has ended. A finalizer calls this, so nothing is sent here."""
        self.handle_count -= 1
        self._unused_objects.append(number)

    def drop_instance(self, instance: int) -> None:
        """Note that an instance of a node is not used any more."""
        self._unused_instances.append(instance)

    def take_forgotten(self) -> m.Forget | None:
        """Return a message about what is not used any more, None if there is nothing."""
        objects = [(self._unused_objects.popleft(), 1) for _ in range(len(self._unused_objects))]
        instances = [self._unused_instances.popleft() for _ in range(len(self._unused_instances))]
        return m.Forget(objects, instances) if objects or instances else None

    def close(self) -> None:
        """Free the shared memory."""
        self.arenas.close()

"""Tensors that are moved into shared memory, since they are sent more than once.

From then on only their place is sent. Whoever changes such a tensor changes what the other side
receives next. The tensor stays the same object, and the move must not be visible: a tensor moves
only if nothing else is known to use its memory.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

from . import messages as m
from .arena import Arena
from .buffer_pool import shared_pool, window
from .exceptions import QuotaError
from .libraries import import_torch, loaded
from .shared_memory import Chunk, only_host_writes

MIN_BYTES = 2**20
"""Smallest tensor that moves."""
QUOTA_DIVISOR = 4
"""Resident tensors use at most the quota of the arena divided by this."""


@dataclass
class ResidentTensor:
    """A tensor that was sent before.

    Attributes:
        tensor: weak reference to it.
        home: lease, chunk and offset of its memory in the arena, once it has moved.
        storage: of the tensor, kept so that its address stays taken.
    """

    tensor: weakref.ref[Any]
    home: tuple[int, Chunk, int] | None = None
    storage: Any = field(default=None, repr=False)


class ResidentTensors:
    """The resident tensors of one arena."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._seen: dict[int, ResidentTensor] = {}
        self._lock = threading.Lock()

    def place(self, tensor: Any, size: int) -> m.BufferRef | None:
        """Return a reference to the tensor's memory in the arena; None if it has to be copied."""
        if size < MIN_BYTES or not _can_move(tensor) or not self._lock.acquire(blocking=False):
            return None
        try:
            resident = self._seen_before(tensor)
            if resident is None:
                return None
            home = resident.home or self._move_in(resident, tensor, size)
            if home is None:
                return None
            number, chunk, offset = home
            return m.BufferRef(chunk.number, offset, size, self.arena.lease_again(number))
        finally:
            self._lock.release()

    def _seen_before(self, tensor: Any) -> ResidentTensor | None:
        """Return None for a tensor that is new, or that was given other memory since."""
        key = id(tensor)
        seen = self._seen
        resident = seen.get(key)
        if (
            resident is not None
            and resident.tensor() is tensor
            and (resident.storage is None or resident.storage.data_ptr() == tensor.data_ptr())
        ):
            return resident

        def forget(reference: weakref.ref[Any]) -> None:
            _forget(seen, key, reference)

        seen[key] = ResidentTensor(weakref.ref(tensor, forget))
        return None

    def _move_in(
        self, resident: ResidentTensor, tensor: Any, size: int
    ) -> tuple[int, Chunk, int] | None:
        """Move a tensor into the arena; return None if it has to stay where it is."""
        room = self.arena.quota // QUOTA_DIVISOR - self.arena.held
        if size > room or not _owns_memory(tensor, size):
            return None
        try:
            chunk, offset, lease = self.arena.lease(size)
        except QuotaError:
            return None
        if not only_host_writes(chunk):
            self.arena.give_back(lease)
            return None
        self.arena.hold(lease)
        buffer = window(chunk.memory, offset, size)
        weakref.finalize(buffer, self.arena.release, lease).atexit = False
        # Another thread may still be reading the old memory.
        shared_pool().free_later(tensor.untyped_storage(), size)
        _move(tensor, buffer)
        resident.home = (lease, chunk, offset)
        resident.storage = tensor.untyped_storage()
        return resident.home


def _forget(seen: dict[int, ResidentTensor], key: int, reference: weakref.ref[Any]) -> None:
    """Delete an entry, unless another tensor has the same ``id`` by now."""
    resident = seen.get(key)
    if resident is not None and resident.tensor is reference:
        del seen[key]


def _can_move(tensor: Any) -> bool:
    """Return whether this is a tensor of torch, no parameter and no part of a graph."""
    torch = loaded("torch")
    return torch is not None and type(tensor) is torch.Tensor and not tensor.requires_grad


def _owns_memory(tensor: Any, size: int) -> bool:
    """Return whether all the memory is this tensor's, and nothing else is known to use it.

    The storage of a tensor that NumPy or DLPack has made cannot be resized.
    """
    torch = import_torch()
    storage = tensor.untyped_storage()
    return (
        storage.nbytes() == size
        and storage.resizable()
        and not storage.is_shared()
        and _reference_counts(storage) == _counts_of_new_tensor()
        and not (torch.cuda.is_initialized() and tensor.is_pinned())
    )


def _reference_counts(storage: Any) -> tuple[int, int]:
    """Return how many tensors and how many Python objects refer to a storage."""
    count = getattr(import_torch()._C, "_storage_Use_Count", None)
    return (-1 if count is None else count(storage._cdata), sys.getrefcount(storage))


@functools.cache
def _counts_of_new_tensor() -> tuple[int, int]:
    """Return the counts for a tensor that nothing else uses: they depend on torch's version."""
    tensor = import_torch().empty(1)
    storage = tensor.untyped_storage()
    counts = _reference_counts(storage)
    return counts if counts[0] > 0 else (0, 0)


def _move(tensor: Any, buffer: Any) -> None:
    """Copy a tensor's elements into a buffer and make the tensor use it."""
    torch = import_torch()
    with torch.inference_mode(tensor.is_inference()):
        target = torch.frombuffer(buffer, dtype=tensor.dtype, count=tensor.numel())
        tensor.data = target.reshape(tensor.shape).copy_(tensor)

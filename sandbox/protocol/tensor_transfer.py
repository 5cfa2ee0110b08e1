"""Transfer of tensors through shared memory.

The host copies what a worker has stored, because the worker could change it later. The worker maps
what the host has stored, because it may trust the host and a mapping costs no copy. Large copies
use memory from a pool, and huge pages where the system has any.
"""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Callable
from typing import Any

from . import messages as m
from .arena import Arena
from .buffer_pool import shared_pool
from .descriptor_channel import DescriptorChannel
from .libraries import import_torch
from .resident_tensors import ResidentTensors
from .shared_memory import Chunk

POOLED_BYTES = 4 * 2**20
"""Smallest copy that takes its memory from the pool."""


def copy_in(chunk: Chunk, offset: int, view: Any, size: int) -> None:
    """Copy a contiguous tensor or array into a chunk."""
    if hasattr(view, "untyped_storage"):
        torch = import_torch()
        target = torch.frombuffer(chunk.memory, dtype=torch.uint8, offset=offset, count=size)
        target.copy_(view.detach().reshape(-1).view(torch.uint8))
    else:
        memoryview(chunk.memory)[offset : offset + size] = view.data


class WeakBytearray(bytearray):
    """A byte array that supports weak references."""


def copy_out(memory: mmap.mmap, buffer: m.BufferRef) -> Any:
    """Return a private copy of bytes in shared memory."""
    if buffer.size < POOLED_BYTES:
        return WeakBytearray(memoryview(memory)[buffer.offset : buffer.offset + buffer.size])
    torch = import_torch()
    copy = shared_pool().take(buffer.size)
    source = torch.frombuffer(memory, dtype=torch.uint8, offset=buffer.offset, count=buffer.size)
    torch.frombuffer(copy, dtype=torch.uint8).copy_(source)
    return copy


class ArenaWriter:
    """Stores what this side sends in its arena."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._residents = ResidentTensors(arena)

    def put(self, view: Any, size: int) -> m.BufferRef:
        """Return a reference to bytes, which are copied unless they are in the arena already."""
        if (buffer := self._residents.place(view, size)) is not None:
            return buffer
        chunk, offset, lease = self.arena.lease(size)
        copy_in(chunk, offset, view, size)
        return m.BufferRef(chunk.number, offset, size, lease)


class ArenaReader:
    """Maps what the host has stored, privately: changes are visible in this process only.

    Args:
        channel: has the descriptors of the host's chunks.
        return_lease: called with a lease when its mapping is not used any more.
    """

    def __init__(self, channel: DescriptorChannel, return_lease: Callable[[int], None]) -> None:
        self._channel = channel
        self._return_lease = return_lease

    def get(self, buffer: m.BufferRef) -> mmap.mmap:
        """Return a mapping; its lease ends with the last tensor that uses it."""
        fd = self._channel.take(buffer.chunk)
        size = -(-buffer.size // mmap.PAGESIZE) * mmap.PAGESIZE
        mapping = _Mapping(
            fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=buffer.offset
        )
        weakref.finalize(mapping, self._return_lease, buffer.lease).atexit = False
        return mapping


class _Mapping(mmap.mmap):
    """A mapping that supports weak references."""

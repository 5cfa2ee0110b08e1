"""The host's copies of tensors lie in buffers that are used again."""

from __future__ import annotations

import gc
import os

import numpy
import pytest
import torch

from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol import tensor_transfer
from zimage_comfyui.sandbox.protocol.buffer_pool import BufferPool, shared_pool
from zimage_comfyui.sandbox.protocol.shared_memory import PAGE, make_chunk, seal
from zimage_comfyui.sandbox.protocol.tensor_transfer import copy_out

MIB = 2**20


class Time:
    """A clock that stands until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestBufferPool:
    """Buffers that are used again."""

    def test_used_again_after_the_last_use(self) -> None:
        """Not before everything that was made of it is gone."""
        pool = BufferPool(64 * MIB)
        first = torch.frombuffer(pool.take(8 * MIB), dtype=torch.uint8)
        address, part = first.data_ptr(), first[100:]
        del first
        assert pool.unused_bytes == 0
        second = torch.frombuffer(pool.take(8 * MIB), dtype=torch.uint8)
        assert second.data_ptr() != address
        del part
        assert pool.unused_bytes == 8 * MIB
        third = torch.frombuffer(pool.take(8 * MIB), dtype=torch.uint8)
        assert third.data_ptr() == address

    def test_arrays_and_their_views(self) -> None:
        """NumPy's views and buffers of views count, too."""
        pool = BufferPool(64 * MIB)
        array = numpy.frombuffer(pool.take(8 * MIB), numpy.uint8)
        view = memoryview(array[10:20].reshape(2, 5))[1:]
        del array
        gc.collect()
        assert pool.unused_bytes == 0
        del view
        gc.collect()
        assert pool.unused_bytes == 8 * MIB

    def test_limit(self) -> None:
        """What would be more than the limit goes back to the system."""
        pool = BufferPool(16 * MIB)
        buffers = [pool.take(8 * MIB) for _ in range(5)]
        del buffers
        assert pool.unused_bytes == 16 * MIB

    def test_sizes(self) -> None:
        """A buffer that is too small, or much too large, is not taken."""
        pool = BufferPool(256 * MIB)
        for size in (8 * MIB, 100 * MIB):
            pool.take(size)
        assert pool.unused_bytes == 108 * MIB
        buffer = pool.take(20 * MIB + 1)
        assert pool.unused_bytes == 108 * MIB
        assert memoryview(buffer).nbytes == 20 * MIB + 1

    def test_trimmed_when_idle(self) -> None:
        """What waited for too long goes, and old things with it."""
        clock = Time()
        pool = BufferPool(64 * MIB, clock)
        pool.take(8 * MIB)
        pool.free_later(bytearray(10), 10)
        clock.now = 10.0
        pool.take(32 * MIB)
        pool.trim(5.0)
        assert pool.unused_bytes == 32 * MIB
        pool.trim()
        assert pool.unused_bytes == 0

    @pytest.mark.parametrize(
        "size", [PAGE, tensor_transfer.POOLED_BYTES, tensor_transfer.POOLED_BYTES + 13]
    )
    def test_copies_are_the_hosts_own(self, size: int) -> None:
        """What a worker writes after the copy does not show in it."""
        chunk = make_chunk(1, size + 100)
        seal(chunk, True)
        memoryview(chunk.memory)[100 : 100 + size] = os.urandom(size)
        copy = copy_out(chunk.memory, m.BufferRef(1, 100, size, 1))
        before = bytes(memoryview(copy).cast("B"))
        assert before == chunk.memory[100 : 100 + size]
        memoryview(chunk.memory)[:] = bytes(chunk.size)
        assert bytes(memoryview(copy).cast("B")) == before
        chunk.memory.close()
        os.close(chunk.fd)

    def test_one_of_a_process(self) -> None:
        """Copies share what waits."""
        assert shared_pool() is shared_pool()

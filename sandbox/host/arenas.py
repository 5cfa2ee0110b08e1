"""The shared memory of the host and one worker: an arena for each direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..protocol import messages as m
from ..protocol.arena import Arena
from ..protocol.exceptions import CodecError, QuotaError
from ..protocol.shared_memory import Chunk, make_chunk, seal
from ..protocol.tensor_transfer import ArenaWriter, copy_out


class Arenas:
    """Both arenas, each within a quota. The host makes the chunks of both.

    Args:
        quota: bytes of each arena.
        send_descriptor: sends the worker a chunk, ``(number, descriptor)``.
    """

    def __init__(self, quota: int, send_descriptor: Callable[[int, int], None]) -> None:
        self.quota = quota
        self._send_descriptor = send_descriptor
        self._arena = Arena(quota, lambda _number, size: self._make_chunk(size, writable=False))
        self._writer = ArenaWriter(self._arena)
        self._worker_chunks: dict[int, Chunk] = {}
        self._chunk_count = 0

    def put(self, view: Any, size: int) -> m.BufferRef:
        """Store bytes where the worker can read them."""
        return self._writer.put(view, size)

    def copy(self, buffer: m.BufferRef) -> Any:
        """Return a copy of what the worker has stored.

        Raises:
            CodecError: the reference is outside of the worker's chunks.
        """
        chunk = self._worker_chunks.get(buffer.chunk)
        end = buffer.offset + buffer.size
        if chunk is None or not 0 <= buffer.offset <= end <= chunk.size:
            raise CodecError("no such place")
        chunk.touched_bytes = max(chunk.touched_bytes, end)
        return copy_out(chunk.memory, buffer)

    def lend(self, size: int) -> int:
        """Make a chunk that the worker may write to.

        Returns:
            Its number.

        Raises:
            QuotaError: the worker has as much as it may.
        """
        allocated = sum(chunk.size for chunk in self._worker_chunks.values())
        if size <= 0 or allocated + size > self.quota:
            raise QuotaError(f"{allocated + size} > {self.quota} bytes")
        chunk = self._make_chunk(size, writable=True)
        self._worker_chunks[chunk.number] = chunk
        return chunk.number

    def _make_chunk(self, size: int, writable: bool) -> Chunk:
        self._chunk_count += 1
        chunk = make_chunk(self._chunk_count, size)
        try:
            seal(chunk, writable)
            self._send_descriptor(chunk.number, chunk.fd)
        except BaseException:
            chunk.close()
            raise
        return chunk

    def give_back(self, leases: Iterable[int]) -> None:
        """End leases that the worker has returned."""
        for lease in leases:
            self._arena.give_back(lease)

    def drop(self, numbers: Iterable[int]) -> None:
        """Close chunks that the worker does not use any more."""
        for number in numbers:
            if (chunk := self._worker_chunks.pop(number, None)) is not None:
                chunk.close()

    def trim(self, seconds: float) -> list[int]:
        """Free chunks that were empty for that many seconds.

        Returns:
            Their numbers.
        """
        return self._arena.trim(seconds)

    @property
    def idle_bytes(self) -> int:
        """Bytes that nothing uses; the host copies at once what the worker has written."""
        worker_bytes = sum(chunk.touched_bytes for chunk in [*self._worker_chunks.values()])
        return self._arena.idle_bytes + worker_bytes

    def close(self) -> None:
        """Free all chunks."""
        self._arena.close()
        self.drop(list(self._worker_chunks))

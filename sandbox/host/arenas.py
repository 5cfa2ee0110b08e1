"""The host's arenas for one worker: those that it reads, and those that it may write into."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any

from ..protocol import messages as m
from ..protocol.codec import ValueTroubleError
from ..protocol.shared_memory import Arena, Chunk, QuotaError, make_chunk, seal
from ..protocol.tensor_transfer import Lender, copy_out


class Arenas:
    """Both, each within a quota.

    Args:
        quota: bytes that each side may have waiting for the other.
        hand_over: gives the worker a chunk, ``(number, descriptor)``.
    """

    def __init__(self, quota: int, hand_over: Callable[[int, int], None]) -> None:
        self.quota, self._hand_over = quota, hand_over
        self._arena = Arena(quota, lambda _number, size: self._make(size, writable=False))
        self._lender = Lender(self._arena)
        self._theirs: dict[int, Chunk] = {}
        self._count = 0

    def put(self, view: Any, size: int) -> m.BufferRef:
        """Have bytes where the worker can read them."""
        return self._lender.put(view, size)

    def copy(self, place: m.BufferRef) -> Any:
        """What the worker has put down, where it cannot change it any more.

        Raises:
            ValueTroubleError: it has no such place.
        """
        chunk = self._theirs.get(place.arena)
        if chunk is None or not 0 <= place.offset <= place.offset + place.size <= chunk.size:
            raise ValueTroubleError("no such place")
        chunk.touched = max(chunk.touched, place.offset + place.size)
        return copy_out(chunk.memory, place)

    def lend(self, size: int) -> int:
        """A chunk that the worker may write into; its number.

        Raises:
            QuotaError: the worker has as much as it may.
        """
        held = sum(chunk.size for chunk in self._theirs.values())
        if size <= 0 or held + size > self.quota:
            raise QuotaError(f"{held + size} > {self.quota} bytes")
        chunk = self._make(size, writable=True)
        self._theirs[chunk.number] = chunk
        return chunk.number

    def _make(self, size: int, writable: bool) -> Chunk:
        self._count += 1
        chunk = make_chunk(self._count, size)
        try:
            seal(chunk, writable)
            self._hand_over(chunk.number, chunk.fd)
        except BaseException:
            _close(chunk)
            raise
        return chunk

    def give_back(self, leases: Iterable[int]) -> None:
        """The worker needs them no more."""
        for lease in leases:
            self._arena.give_back(lease)

    def drop(self, numbers: Iterable[int]) -> None:
        """The worker has no use for these chunks of its own any more."""
        for number in numbers:
            if (chunk := self._theirs.pop(number, None)) is not None:
                _close(chunk)

    def trim(self, seconds: float) -> list[int]:
        """Give back the memory of what was empty for so long; numbers of chunks that are gone."""
        return self._arena.trim(seconds)

    @property
    def kept(self) -> int:
        """Bytes of this process that wait for their next use: what it reads is copied at once."""
        return self._arena.kept + sum(chunk.touched for chunk in [*self._theirs.values()])

    def close(self) -> None:
        """Give everything back to the system."""
        self._arena.close()
        self.drop(list(self._theirs))


def _close(chunk: Chunk) -> None:
    with contextlib.suppress(BufferError):  # a tensor lives there: it goes with the tensor
        chunk.memory.close()
    os.close(chunk.fd)

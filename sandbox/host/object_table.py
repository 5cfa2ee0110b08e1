"""Objects of the host that a worker has references to, by number."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from ..protocol import messages as m
from ..protocol.exceptions import CodecError, QuotaError
from ..protocol.operations import class_of, kind_of

MAX_OBJECTS = 10_000
"""Objects of the host that one worker may refer to."""


@dataclass(eq=False)
class Entry:
    """An object of the host.

    Attributes:
        value: the object.
        references: how many the worker has.
    """

    value: Any
    references: int = 0


class HostObjects:
    """The table of one worker."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._numbers: dict[int, int] = {}
        self._count = 0
        self._lock = threading.Lock()

    def reference(self, value: Any) -> m.HostRef:
        """Return a new reference, which the worker ends with :class:`messages.Forget`.

        Raises:
            QuotaError: the worker refers to too many objects.
        """
        with self._lock:
            number = self._numbers.get(id(value))
            if number is None:
                if len(self._entries) >= MAX_OBJECTS:
                    raise QuotaError(f"{MAX_OBJECTS} objects of the host")
                self._count += 1
                number = self._numbers[id(value)] = self._count
                self._entries[number] = Entry(value)
            self._entries[number].references += 1
        return m.HostRef(number, kind_of(value), class_of(value))

    def find(self, number: int) -> Any:
        """Return the object with a number.

        Raises:
            CodecError: the worker never got a reference to it, or has ended all of them.
        """
        try:
            return self._entries[number].value
        except KeyError:
            raise CodecError(f"no object {number}") from None

    def forget(self, counts: list[tuple[int, int]]) -> None:
        """Subtract ended references.

        Args:
            counts: number of an object, and how many references have ended.
        """
        removed: list[Entry] = []  # freed after the lock is released: finalizers may run
        with self._lock:
            for number, count in counts:
                entry = self._entries.get(number)
                if entry is not None and count > 0:
                    entry.references -= count
                    if entry.references <= 0:
                        del self._entries[number], self._numbers[id(entry.value)]
                        removed.append(entry)

    def all(self) -> list[Any]:
        """Return every object that the worker refers to."""
        return [entry.value for entry in list(self._entries.values())]

    def __len__(self) -> int:
        return len(self._entries)

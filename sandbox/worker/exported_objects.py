"""Objects that stay in a worker while the host has references to them."""

from __future__ import annotations

import threading
from typing import Any

from ..protocol import messages as m
from ..protocol.exceptions import CodecError


class ExportedObjects:
    """Objects by number, each with a count of the host's references."""

    def __init__(self) -> None:
        self._objects: dict[int, list[Any]] = {}  # the object and its count
        self._numbers: dict[int, int] = {}  # by id() of the object
        self._last = 0
        self._lock = threading.Lock()

    def export(self, value: Any) -> m.WorkerRef:
        """Return a new reference to an object."""
        with self._lock:
            number = self._numbers.get(id(value))
            if number is None:
                self._last += 1
                number = self._numbers[id(value)] = self._last
                self._objects[number] = [value, 0]
            self._objects[number][1] += 1
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        return m.WorkerRef(number, name[:200], callable(value))

    def find(self, number: int) -> Any:
        """Return the object of a reference.

        Raises:
            CodecError: there is none.
        """
        try:
            return self._objects[number][0]
        except KeyError:
            raise CodecError(f"no object {number}: the sandbox was restarted") from None

    def forget(self, counts: list[tuple[int, int]]) -> None:
        """Subtract references that the host has released; drop objects without any."""
        dropped = []  # destroyed after the lock: a finalizer may export objects
        with self._lock:
            for number, count in counts:
                if (entry := self._objects.get(number)) is not None:
                    entry[1] -= count
                    if entry[1] <= 0:
                        del self._objects[number], self._numbers[id(entry[0])]
                        dropped.append(entry)

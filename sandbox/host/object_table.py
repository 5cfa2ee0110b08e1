"""What host and worker have of each other: objects by number, and how things end."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from ..protocol import messages as m
from ..protocol.codec import ValueTroubleError
from ..protocol.shared_memory import QuotaError

if TYPE_CHECKING:
    from .process import Process

MOST_OBJECTS = 10_000
"""Of the host, that one worker may have a handle for."""


class WorkerDied(Exception):
    """The worker is not there any more; ``found`` says how that came."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


class WorkerRaised(Exception):
    """A call failed inside; the trouble as the worker told it."""

    def __init__(self, trouble: m.ErrorInfo) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


class Handle:
    """An object that stays in a worker. It is of use to nodes of the same pack only."""

    def __init__(self, process: Process, number: int, name: str) -> None:
        self.process, self.number, self.name = process, number, name
        weakref.finalize(self, process.forget, number).atexit = False

    def __repr__(self) -> str:
        return f"<{self.name} in the sandbox of {self.process.name}>"


class Callback(Handle):
    """A function that stays in a worker; it can be called while that worker waits for the host."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from .dispatch import call_back

        return call_back(self.process, self.number, args, kwargs)


class HostObjects:
    """Objects of the host that a worker has a handle for."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Any]] = {}
        self._numbers: dict[int, int] = {}
        self._next = 0
        self._lock = threading.Lock()

    def keep(self, value: Any) -> m.HostRef:
        """A handle, which the worker gives back with :class:`messages.Forget`.

        Raises:
            QuotaError: it has more than it may.
        """
        from ..protocol.operations import class_of, kind_of

        with self._lock:
            number = self._numbers.get(id(value))
            if number is None:
                if len(self._kept) >= MOST_OBJECTS:
                    raise QuotaError(f"{MOST_OBJECTS} objects of the host")
                self._next += 1
                number = self._numbers[id(value)] = self._next
                self._kept[number] = [value, 0]
            self._kept[number][1] += 1
        return m.HostRef(number, kind_of(value), class_of(value))

    def find(self, number: int) -> Any:
        """The object.

        Raises:
            ValueTroubleError: the worker was never given that handle, or has given it back.
        """
        try:
            return self._kept[number][0]
        except KeyError:
            raise ValueTroubleError(f"no object {number}") from None

    def forget(self, counts: list[tuple[int, int]]) -> None:
        """The worker has dropped that many handles."""
        gone = []
        with self._lock:
            for number, count in counts:
                kept = self._kept.get(number)
                if kept is not None and count > 0:
                    kept[1] -= count
                    if kept[1] <= 0:
                        del self._kept[number], self._numbers[id(kept[0])]
                        gone.append(kept)

    def all(self) -> list[Any]:
        """Every object that the worker has a handle for."""
        return [kept[0] for kept in list(self._kept.values())]

    def __len__(self) -> int:
        return len(self._kept)

"""Calls of a worker that have not ended, and what it asks while it runs them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import messages as m
from .handles import Died
from .troubles import refusal

if TYPE_CHECKING:
    from .process import Process


@dataclass
class Pending:
    """A call that has not ended.

    Attributes:
        call: what was sent.
        inbox: frames for whoever waits for it.
        told: what to do with events.
    """

    call: m.Call
    told: Callable[[str, Any], None] | None
    inbox: deque[Any] = field(default_factory=deque)


class Calls:
    """By number; true while there is one."""

    def __init__(self) -> None:
        self._pending: dict[int, Pending] = {}
        self._number = 0
        self._lock = threading.Lock()

    def open(self, call: m.Call, told: Callable[[str, Any], None] | None) -> Pending:
        """A call that is about to be sent gets its number."""
        with self._lock:
            self._number += 1
            call.number = self._number
        pending = self._pending[call.number] = Pending(call, told)
        return pending

    def close(self, call: m.Call) -> None:
        """Nobody waits for it any more."""
        self._pending.pop(call.number, None)

    def of(self, number: int) -> Pending | None:
        """The call with that number, if it has not ended."""
        return self._pending.get(number)

    def __bool__(self) -> bool:
        return bool(self._pending)


class Questions:
    """What a worker asks, answered in the thread that waits for its call.

    Args:
        process: the worker.
        answer: ``(process, target object or None, name, arguments)``.
    """

    def __init__(self, process: Process, answer: Callable[[Process, Any, str, Any], Any]) -> None:
        self._process, self._answer = process, answer
        self._asking = threading.local()
        self._open: list[int] = []

    @property
    def innermost(self) -> int:
        """The question that a call back belongs inside: this thread's, else the last; or 0."""
        return getattr(self._asking, "number", 0) or (self._open or [0])[-1]

    def answer(self, question: m.Question) -> m.Answer:
        """Do what is asked; the worker is told what went wrong, unless it has ended by that."""
        process = self._process
        arguments = process.trusted(process.codec.unpack, question.arguments)
        target = None
        if question.target is not None:
            target = process.trusted(process.objects.find, question.target.number)
        before = getattr(self._asking, "number", 0)
        self._asking.number = question.number
        self._open.append(question.number)
        try:
            if question.target is None and question.name == "arena":
                value: Any = process.lend(int(arguments[0]))
            else:
                value = self._answer(process, target, question.name, arguments)
            return m.Answer(question.number, process.codec.pack(value))
        except Died:
            raise
        except Exception as error:  # noqa: BLE001  the worker is told, whatever it is
            return m.Answer(question.number, error=refusal(error))
        finally:
            self._asking.number = before
            self._open.remove(question.number)

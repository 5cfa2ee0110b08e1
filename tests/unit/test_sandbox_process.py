"""One worker as the host sees it; the worker is this test, at the other end of its sockets."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from zimage_comfyui.sandbox import events, process
from zimage_comfyui.sandbox import messages as m
from zimage_comfyui.sandbox.arena import QuotaError
from zimage_comfyui.sandbox.events import EVENTS_PER_SECOND, Asides
from zimage_comfyui.sandbox.handles import Died
from zimage_comfyui.sandbox.output import Output
from zimage_comfyui.sandbox.process import Process


class Parent:
    """A template: it forks nothing, and keeps the worker's ends.

    Attributes:
        told: what it says when it is asked how the worker ended, before it knows.
    """

    told: Iterator[int | None] = iter(())

    def spawn(self, fds: tuple[int, int, int], _ended: Callable[[int], None]) -> tuple[int, int]:
        """See ``parent.Parent``; no process has that number."""
        self.frames, self.handover, self.output = map(os.dup, fds)
        return 1, 2**31 - 1

    def end_of(self, _token: int, _seconds: float) -> int | None:
        """It was killed, if it has been told by now."""
        return next(self.told, 9)


class Worker:
    """What a worker sends, by hand."""

    def __init__(self, asides: Asides) -> None:
        self.parent: Any = Parent()
        begin = m.Begin("pack", "custom_nodes", [], {}, {}, None, {}, 2**20)
        output = Output("some")
        self.host = Process("some", self.parent, begin, output, lambda *_: None, 2**20, asides)
        self.connection = Connection(self.parent.frames)
        assert m.begin(self.connection.recv_bytes()) == begin

    def send(self, frame: Any) -> None:
        """One frame."""
        self.connection.send_bytes(m.encode(frame))


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(clock: Clock) -> Iterator[Worker]:
    found = Worker(Asides("some", clock))
    yield found
    found.host.close()
    found.host.output.close()
    found.connection.close()
    os.close(found.parent.handover)
    os.close(found.parent.output)


def test_events_outside_of_calls_are_so_many_a_second(
    worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is counted and told once; in the next second there is room again."""
    told: list[Any] = []
    monkeypatch.setattr(process, "tell", lambda kind, value, _: told.append((kind, value)))
    caplog.set_level(logging.WARNING, events.__name__)
    for second in range(2):
        clock.now += 1
        for number in range(EVENTS_PER_SECOND + 20):
            worker.send(m.Event("send", 0, m.List(["some.event", number, None])))
            worker.host.drain()
        assert len(told) == (second + 1) * EVENTS_PER_SECOND
    assert told[-1] == ("send", ["some.event", EVENTS_PER_SECOND - 1, None])
    assert worker.host._asides.left_out == 40
    assert [one.name for one in caplog.records] == [events.__name__]
    assert worker.host.dead is None


def test_other_events_belong_to_a_call(
    worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress of none is left out; what is too much is not even looked at."""
    told: list[Any] = []
    monkeypatch.setattr(process, "tell", lambda kind, *_: told.append(kind))
    worker.send(m.Event("progress", 0, m.Tuple([1, 2, None])))
    for _ in range(EVENTS_PER_SECOND + 1):
        worker.host._asides.room()
    worker.send(m.Event("send", 0, m.Ours(7, "MODEL")))
    worker.host.drain()
    assert told == []
    assert worker.host.dead is None
    clock.now += 1
    worker.send(m.Event("send", 0, m.Ours(7, "MODEL")))
    worker.host.drain()
    assert "bad message" in str(worker.host.dead)


def test_what_a_worker_asks_is_answered_by_who_waits(worker: Worker) -> None:
    """In order, each with its number; what fails is told, and the call goes on."""
    answers = iter([7, PermissionError("not that"), QuotaError("too much")])

    def answer(_process: Any, _target: Any, name: str, arguments: Any) -> Any:
        asked.append((name, arguments, worker.host._questions.innermost))
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    asked: list[Any] = []
    worker.host._questions._answer = answer
    for number in (11, 12, 13):
        worker.send(m.Question(number, 1, None, "do", m.List([number])))
    worker.send(m.Question(14, 1, None, "arena", m.List([2**30])))
    worker.send(m.Question(15, 99, None, "do", None))
    worker.send(m.Done(1, 42))
    assert worker.host.call(m.Call(0, "node")) == 42
    assert asked == [("do", [number], number) for number in (11, 12, 13)]
    assert worker.host._questions.innermost == 0
    assert not worker.host.busy
    frames = [m.from_host(worker.connection.recv_bytes()) for _ in range(6)]
    found = {one.number: one for one in frames if isinstance(one, m.Answer)}
    assert found[11].value == 7
    kinds = {number: one.error.kind for number, one in found.items() if one.error is not None}
    assert kinds == {12: "error", 13: "memory", 14: "memory", 15: "error"}


def test_an_object_that_was_never_given_ends_the_worker(worker: Worker) -> None:
    """A question about it is no mistake."""
    worker.send(m.Question(11, 1, m.Ours(5, "MODEL"), "clone", None))
    with pytest.raises(Died, match="bad message"):
        worker.host.call(m.Call(0, "node"))
    with pytest.raises(Died, match="bad message"):
        worker.host.call(m.Call(0, "node"))
    assert not worker.host.busy


def test_an_end_that_is_told_late_is_waited_for(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine hides no signal: who has hung up is ended, and what the kernel says counts."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(process.os, "kill", lambda *which: killed.append(which))
    worker.parent.told = iter((None, 7 << 8))
    assert worker.host.end() == "exit 7"
    assert killed == [(worker.host.pid, 9)]


def test_last_words_are_its_own_though_the_next_has_begun(worker: Worker) -> None:
    """Its pack is started again by whoever is first to see the end."""
    os.write(worker.parent.output, b"last words\n")
    worker.host.output.begin()
    assert worker.host.last() == "last words"

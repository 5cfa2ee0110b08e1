"""One worker as the host sees it; the worker is this test, at the other end of its sockets."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from zimage_comfyui.sandbox.host import calls, frames_out, process
from zimage_comfyui.sandbox.host.object_table import HostObjects
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.codec import SAFE_KEYS
from zimage_comfyui.sandbox.protocol.exceptions import (
    CodecError,
    QuotaError,
    WorkerDied,
    WorkerRaised,
)
from zimage_comfyui.tests.fakes.hand_worker import Clock, Worker, by_hand, listen, tensor
from zimage_comfyui.tests.fakes.waiting import wait


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(clock: Clock) -> Iterator[Worker]:
    with by_hand(clock) as found:
        yield found


def test_what_a_worker_asks_is_answered_by_who_waits(worker: Worker) -> None:
    """In order, each with its number; what fails is told, and the call goes on."""
    answers = iter([7, PermissionError("not that"), QuotaError("too much")])

    def answer(_target: Any, name: str, arguments: Any, _size: int) -> Any:
        asked.append((name, arguments, worker.host._requests.innermost))
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    asked: list[Any] = []
    worker.host._requests._answer = answer
    for number in (11, 12, 13):
        worker.send(m.HostRequest(number, 1, None, "do", m.List([number])))
    worker.send(m.HostRequest(14, 1, None, "arena", m.List([2**30])))
    worker.send(m.HostRequest(15, 99, None, "do", None))
    worker.send(m.Done(1, 42))
    assert worker.host.call(m.Call(0, "node")) == 42
    assert asked == [("do", [number], number) for number in (11, 12, 13)]
    assert worker.host._requests.innermost == 0
    assert not worker.host.busy
    frames = [m.from_host(worker.connection.recv_bytes()) for _ in range(6)]
    found = {one.number: one for one in frames if isinstance(one, m.HostResponse)}
    assert found[11].value == 7
    kinds = {number: one.error.kind for number, one in found.items() if one.error is not None}
    assert kinds == {12: "error", 13: "memory", 14: "memory", 15: "error"}


class InterruptProcessingException(BaseException):
    """As in newer hosts."""


def test_an_interrupt_of_the_host_is_an_answer(worker: Worker) -> None:
    """The worker waits for one, also where the host's class is no ``Exception``; all else that is
    none ends the call."""
    answers = iter([InterruptProcessingException(), KeyboardInterrupt()])

    def answer(*_: Any) -> Any:
        raise next(answers)

    worker.host._requests._answer = answer
    worker.send(m.HostRequest(11, 1, None, "do", m.List([11])))
    worker.send(m.Failed(1, m.ErrorInfo("interrupted", "", "")))
    with pytest.raises(WorkerRaised) as caught:
        worker.host.call(m.Call(0, "node"))
    assert caught.value.error.kind == "interrupted"
    frames = [m.from_host(worker.connection.recv_bytes()) for _ in range(2)]
    (told,) = [one for one in frames if isinstance(one, m.HostResponse)]
    assert told.error is not None
    assert (told.number, told.error.kind) == (11, "interrupted")
    assert worker.host.process.end_reason is None
    worker.send(m.HostRequest(12, 2, None, "do", m.List([12])))
    worker.send(m.Failed(2, m.ErrorInfo("error", "", "")))
    with pytest.raises(KeyboardInterrupt):
        worker.host.call(m.Call(0, "node"))


def test_an_object_that_was_never_given_ends_the_worker(worker: Worker) -> None:
    """A question about it is no mistake."""
    worker.send(m.HostRequest(11, 1, m.HostRef(5, "MODEL"), "clone", None))
    with pytest.raises(WorkerDied, match="bad message"):
        worker.host.call(m.Call(0, "node"))
    with pytest.raises(WorkerDied, match="bad message"):
        worker.host.call(m.Call(0, "node"))
    assert not worker.host.busy


def test_an_end_that_is_told_late_is_waited_for(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine hides no signal: who has hung up is ended, and what the kernel says counts."""
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(process.os, "kill", lambda *which: killed.append(which))
    worker.template.statuses = iter((None, 7 << 8))
    assert worker.host.process.wait_end() == "exit 7"
    assert killed == [(worker.host.process.pid, 9)]


def test_last_words_are_its_own_though_the_next_has_begun(worker: Worker) -> None:
    """Its pack is started again by whoever is first to see the end."""
    os.write(worker.template.output, b"last words\n")
    worker.host.process.output.begin()
    assert worker.host.process.last_output() == "last words"


def test_a_place_that_is_named_twice_is_one_array(worker: Worker) -> None:
    """As it is in the worker; both leases end."""
    frames = listen(worker)
    size = 2**19
    sent = [tensor(worker, size, lease=lease) for lease in (5, 6, 7)]
    worker.send(m.Done(1, m.List([*sent, tensor(worker, 10, offset=size, lease=8)])))
    found = worker.host.call(m.Call(0, "node"))
    found[0][3] = 9
    assert [one[3] for one in found] == [9, 9, 9, 0]
    wait(lambda: any(isinstance(one, m.Returned) for one in frames))
    assert [one.leases for one in frames if isinstance(one, m.Returned)] == [[5, 6, 7, 8]]


def test_places_that_overlap_are_no_more_than_an_arena(worker: Worker) -> None:
    """Honest ones do not overlap."""
    size = 2**19
    worker.send(m.Done(1, m.List([tensor(worker, size, offset=i) for i in range(3)])))
    with pytest.raises(WorkerDied, match="bad message: 1572864 bytes, at most 1048576"):
        worker.host.call(m.Call(0, "node"))


def test_what_the_host_keeps_for_a_worker_is_bounded(worker: Worker) -> None:
    """Of what it has brought into questions; what has gone counts no more."""
    kept: list[Any] = []
    worker.host._requests._answer = lambda _t, name, found, _s: (
        kept.append(found) if name == "keep" else kept.clear()
    )
    frames = listen(worker)
    for number, name in enumerate(["keep", "keep", "keep", "drop", "keep"], 1):
        worker.send(m.HostRequest(number, 1, None, name, tensor(worker, 2**19)))
        if number == 3:
            worker.send(m.HostRequest(33, 1, None, "drop", None))
    worker.send(m.Done(1, None))
    worker.host.call(m.Call(0, "node"))
    wait(lambda: sum(isinstance(one, m.HostResponse) for one in frames) == 6)
    errors = {
        one.number: one.error for one in frames if isinstance(one, m.HostResponse) and one.error
    }
    assert list(errors) == [3]
    assert errors[3].kind == "memory"
    assert "for this pack" in errors[3].message
    assert worker.host.objects.copied.total == 2**19


def test_handles_and_objects_are_so_many(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both directions."""
    monkeypatch.setattr("zimage_comfyui.sandbox.host.inbound.MAX_HANDLES", 10)
    worker.send(m.Done(1, m.List([m.WorkerRef(number, "thing") for number in range(11)])))
    with pytest.raises(WorkerDied, match="more than 10 objects"):
        worker.host.call(m.Call(0, "node"))
    monkeypatch.setattr("zimage_comfyui.sandbox.host.object_table.MAX_OBJECTS", 2)
    objects, mine = HostObjects(), [object(), object(), object()]
    assert [objects.reference(one).number for one in (*mine[:2], mine[0])] == [1, 2, 1]
    with pytest.raises(QuotaError):
        objects.reference(mine[2])


def test_keys_whose_hashes_can_be_chosen_are_few(worker: Worker) -> None:
    """Text and plain numbers may be many."""
    pairs: list[Any] = [(str(number), number) for number in range(20_000)]
    worker.send_long(m.Done(1, m.Dict(pairs)))
    assert len(worker.host.call(m.Call(0, "node"))) == 20_000
    assert tuple not in SAFE_KEYS
    worker.send_long(m.Done(2, m.Set([m.BigInt(hex((2**61 - 1) * n)) for n in range(20, 10_000)])))
    with pytest.raises(WorkerDied, match="too many keys"):
        worker.host.call(m.Call(0, "node"))


def test_a_call_that_is_too_long_leaves_the_worker(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has heard nothing of it."""
    monkeypatch.setattr(m, "FRAME_BYTES", 1000)
    frames = listen(worker)
    with pytest.raises(CodecError, match="are more than"):
        worker.host.call(m.Call(0, "node", name="n" * 2000))
    assert worker.host.process.end_reason is None
    worker.send(m.Done(2, 5))
    assert worker.host.call(m.Call(0, "node")) == 5
    wait(lambda: frames)
    assert [one for one in frames if isinstance(one, m.Call) and one.name] == []
    assert [type(one) for one in frames] == [m.Call]


def test_limits_are_judged_while_events_never_stop(worker: Worker) -> None:
    """A flood is no way round them."""
    listen(worker)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            worker.send(m.Event("progress", 1, m.Tuple([1, 2, None])))

    def check(_process: Any, _silence: float) -> None:
        raise WorkerDied("enough")

    worker.beside(flood)
    with pytest.raises(WorkerDied, match="enough"):
        worker.host.call(m.Call(0, "node"), lambda *_: None, check)
    stop.set()


def test_what_waits_for_one_call_is_bounded(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its thread answers, another call reads for it."""
    monkeypatch.setattr(calls, "INBOX_FRAMES", 10)
    go, asked = threading.Event(), threading.Event()

    def answer(*_: Any) -> None:
        asked.set()
        go.wait(60)

    worker.host._requests._answer = answer
    listen(worker)
    ends: list[str] = []

    def call() -> None:
        try:
            worker.host.call(m.Call(0, "node"))
        except WorkerDied as error:
            ends.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for one in threads:
        one.start()
    wait(lambda: len(worker.host._calls._pending) == 2)
    worker.send(m.HostRequest(1, 1, None, "slow", None))
    wait(asked.is_set)
    for _ in range(100):
        worker.send(m.Event("progress", 1, None))  # these are left out
    for number in range(20):
        worker.send(m.HostRequest(number + 2, 1, None, "more", None))
    wait(lambda: worker.host.process.end_reason is not None)
    go.set()
    for one in threads:
        one.join()
    assert len(ends) == 2
    assert "more than anybody could answer" in str(worker.host.process.end_reason)


def test_a_worker_that_reads_by_drops_is_given_up(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is for the whole message, however often a little goes through."""
    monkeypatch.setattr(frames_out, "SEND_SECONDS", 1.0)
    monkeypatch.setattr(frames_out, "BYTES_PER_SECOND", 2**40)
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            with contextlib.suppress(OSError):
                os.read(worker.template.frames, 1000)

    worker.beside(drip)
    began = time.monotonic()
    with pytest.raises(WorkerDied, match="does not read"):
        worker.host.call(m.Call(0, "node", name="n" * 5_000_000))
    stop.set()
    assert worker.host.process.end_reason is not None
    assert time.monotonic() - began >= 1.0


def test_an_answer_that_is_too_long_is_a_refusal(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker waits for one, whatever comes of it."""
    frames = listen(worker)
    worker.host._requests._answer = lambda *_: "x" * 2000
    monkeypatch.setattr(m, "FRAME_BYTES", 1000)
    worker.send(m.HostRequest(3, 1, None, "do", None))
    worker.send(m.Done(1, None))
    worker.host.call(m.Call(0, "node"))
    wait(lambda: any(isinstance(one, m.HostResponse) for one in frames))
    (found,) = [one for one in frames if isinstance(one, m.HostResponse)]
    assert found.error is not None
    assert "are more than" in found.error.message


def test_an_exception_is_told_in_lines_that_are_nobody_elses(worker: Worker) -> None:
    """In type, message and trace."""
    text = "first\n[core] ERROR forged\x1b[2J"
    worker.send_long(m.Failed(1, m.ErrorInfo("error", text, text + "M" * 10**6, text)))
    with pytest.raises(WorkerRaised) as caught:
        worker.host.call(m.Call(0, "node"))
    trouble = caught.value.error
    assert trouble.type == "first\\x0a[core] ERROR forged\\x1b[2J"
    assert trouble.trace == "first\n  [core] ERROR forged\\x1b[2J"
    assert len(trouble.message) < 10_000

"""One worker as the host sees it; the worker is this test, at the other end of its sockets."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy
import pytest

from zimage_comfyui.sandbox import calls, events, outgoing, process
from zimage_comfyui.sandbox import messages as m
from zimage_comfyui.sandbox.arena import QuotaError
from zimage_comfyui.sandbox.events import EVENTS_PER_SECOND, Asides
from zimage_comfyui.sandbox.handles import Died, HostObjects, Remote
from zimage_comfyui.sandbox.output import Output
from zimage_comfyui.sandbox.process import Process
from zimage_comfyui.sandbox.values import PLAIN_KEYS, ValueTroubleError
from zimage_comfyui.tests.fakes.waiting import wait


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
        self.threads: list[threading.Thread] = []
        assert m.begin(self.connection.recv_bytes()) == begin

    def send(self, frame: Any) -> None:
        """One frame."""
        self.connection.send_bytes(m.encode(frame))

    def send_long(self, frame: Any) -> None:
        """One that the socket cannot hold: it goes as the host reads it."""
        self.beside(lambda: self.send(frame))

    def beside(self, run: Callable[[], None]) -> None:
        """Do it in a thread, until the host closes its end."""

        def until_closed() -> None:
            with contextlib.suppress(OSError, EOFError):
                run()

        self.threads.append(threading.Thread(target=until_closed, daemon=True))
        self.threads[-1].start()


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
    for one in found.threads:
        one.join(60)  # it uses what is closed now
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

    def answer(_process: Any, _target: Any, name: str, arguments: Any, _size: int) -> Any:
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


def listen(worker: Worker) -> list[Any]:
    """Frames that the host sends, from now on."""
    frames: list[Any] = []

    def run() -> None:
        while True:
            frames.append(m.from_host(worker.connection.recv_bytes()))

    worker.beside(run)
    return frames


def tensor(worker: Worker, size: int, offset: int = 0, lease: int = 1) -> m.Tensor:
    """One that lies in the worker's arena."""
    if not worker.host._arenas._theirs:
        worker.host.lend(2**20)
    (number,) = worker.host._arenas._theirs
    return m.Tensor("numpy", "|u1", [size], place=m.Place(number, offset, size, lease))


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
    with pytest.raises(Died, match="bad message: 1572864 bytes, at most 1048576"):
        worker.host.call(m.Call(0, "node"))


def test_what_the_host_keeps_for_a_worker_is_bounded(worker: Worker) -> None:
    """Of what it has brought into questions; what has gone counts no more."""
    kept: list[Any] = []
    worker.host._questions._answer = lambda _p, _t, name, found, _s: (
        kept.append(found) if name == "keep" else kept.clear()
    )
    frames = listen(worker)
    for number, name in enumerate(["keep", "keep", "keep", "drop", "keep"], 1):
        worker.send(m.Question(number, 1, None, name, tensor(worker, 2**19)))
        if number == 3:
            worker.send(m.Question(33, 1, None, "drop", None))
    worker.send(m.Done(1, None))
    worker.host.call(m.Call(0, "node"))
    wait(lambda: sum(isinstance(one, m.Answer) for one in frames) == 6)
    errors = {one.number: one.error for one in frames if isinstance(one, m.Answer) and one.error}
    assert list(errors) == [3]
    assert errors[3].kind == "memory"
    assert "for this pack" in errors[3].message
    assert worker.host.held.bytes == 2**19


def test_handles_and_objects_are_so_many(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """In both directions."""
    monkeypatch.setattr("zimage_comfyui.sandbox.arriving.MOST_HANDLES", 10)
    worker.send(m.Done(1, m.List([m.Theirs(number, "thing") for number in range(11)])))
    with pytest.raises(Died, match="more than 10 objects"):
        worker.host.call(m.Call(0, "node"))
    monkeypatch.setattr("zimage_comfyui.sandbox.handles.MOST_OBJECTS", 2)
    objects, mine = HostObjects(), [object(), object(), object()]
    assert [objects.keep(one).number for one in (*mine[:2], mine[0])] == [1, 2, 1]
    with pytest.raises(QuotaError):
        objects.keep(mine[2])


def test_keys_whose_hashes_can_be_chosen_are_few(worker: Worker) -> None:
    """Text and plain numbers may be many."""
    pairs: list[Any] = [(str(number), number) for number in range(20_000)]
    worker.send_long(m.Done(1, m.Dict(pairs)))
    assert len(worker.host.call(m.Call(0, "node"))) == 20_000
    assert tuple not in PLAIN_KEYS
    worker.send_long(m.Done(2, m.Set([m.Big(hex((2**61 - 1) * n)) for n in range(20, 10_000)])))
    with pytest.raises(Died, match="too many keys"):
        worker.host.call(m.Call(0, "node"))


class InterruptedError_(Exception):
    """As ComfyUI's hook raises when the user interrupts."""


@pytest.mark.parametrize("ends", [True, False])
def test_an_interrupt_while_progress_is_told_ends_the_call(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """The worker is asked to stop, and ended if it does not; the interrupt is what is raised."""
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.5 if not ends else 60)
    frames = listen(worker)

    def told(_kind: str, _value: Any) -> None:
        raise InterruptedError_

    def obey() -> None:
        wait(lambda: any(isinstance(one, m.Cancel) for one in frames))
        worker.send(m.Question(4, 1, None, "do", None))
        worker.send(m.Event("progress", 1, m.Tuple([2, 3, None])))
        if ends:
            worker.send(m.Failed(1, m.Trouble("interrupted", "", "")))

    worker.beside(obey)
    worker.send(m.Event("progress", 1, m.Tuple([1, 3, None])))
    with pytest.raises(InterruptedError_):
        worker.host.call(m.Call(0, "node"), told)
    assert worker.host.dead == (None if ends else "interrupted")
    assert not worker.host.busy
    wait(lambda: any(isinstance(one, m.Answer) for one in frames))
    (answer,) = [one for one in frames if isinstance(one, m.Answer)]
    assert answer.error is not None
    assert answer.error.kind == "interrupted"


def test_an_interrupt_at_the_end_leaves_the_worker(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is over by then: nobody waits for it, and what it gave goes back."""
    monkeypatch.setattr(worker.host, "_pace", events.Pace(1, Clock()))
    frames, told = listen(worker), []

    def tell(_kind: str, value: Any) -> None:
        told.append(value[0])
        if len(told) == 2:
            raise InterruptedError_

    for number in (1, 2):
        worker.send(m.Event("progress", 1, m.Tuple([number, 3, None])))
    worker.send(m.Done(1, tensor(worker, 2**19, lease=7)))
    with pytest.raises(InterruptedError_):
        worker.host.call(m.Call(0, "node"), tell)
    assert told == [1, 2]
    assert worker.host.dead is None
    wait(lambda: any(isinstance(one, m.Returned) for one in frames))
    assert not [one for one in frames if isinstance(one, m.Cancel)]
    assert [one.leases for one in frames if isinstance(one, m.Returned)] == [[7]]


def test_a_call_that_is_too_long_leaves_the_worker(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has heard nothing of it."""
    monkeypatch.setattr(m, "FRAME_BYTES", 1000)
    frames = listen(worker)
    with pytest.raises(ValueTroubleError, match="are more than"):
        worker.host.call(m.Call(0, "node", name="n" * 2000))
    assert worker.host.dead is None
    worker.send(m.Done(2, 5))
    assert worker.host.call(m.Call(0, "node")) == 5
    wait(lambda: frames)
    assert [one for one in frames if isinstance(one, m.Call) and one.name] == []
    assert [type(one) for one in frames] == [m.Call]


def test_events_are_told_by_the_thread_of_their_call(worker: Worker) -> None:
    """Whoever reads only hands them over: a hook knows its prompt by its thread."""
    names: dict[int, str] = {}
    started = threading.Barrier(3)

    def call(number: int) -> None:
        def told(_kind: str, _value: Any) -> None:
            names[number] = threading.current_thread().name

        started.wait()
        worker.host.call(m.Call(0, "node"), told)

    listen(worker)
    threads = [threading.Thread(target=call, args=(n,), name=f"call {n}") for n in (1, 2)]
    for one in threads:
        one.start()
    started.wait()
    wait(lambda: len(worker.host._calls._pending) == 2)
    by_number = {number: None for number in worker.host._calls._pending}
    for number in by_number:
        worker.send(m.Event("progress", number, m.Tuple([1, 3, None])))
    for number in by_number:
        worker.send(m.Done(number, None))
    for one in threads:
        one.join()
    assert names == {1: "call 1", 2: "call 2"}


def test_progress_that_comes_too_fast_ends_with_its_last(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is between is left out."""
    monkeypatch.setattr(worker.host, "_pace", events.Pace(5, Clock()))
    listen(worker)
    told: list[Any] = []

    def send() -> None:
        for number in range(1, 501):
            worker.send(m.Event("progress", 1, m.Tuple([number, 500, None])))
        worker.send(m.Done(1, "end"))

    worker.beside(send)
    assert worker.host.call(m.Call(0, "node"), lambda _, value: told.append(value[0])) == "end"
    assert told[:5] == [1, 2, 3, 4, 5]
    assert told[-1] == 500
    assert len(told) < 20


def test_limits_are_judged_while_events_never_stop(worker: Worker) -> None:
    """A flood is no way round them."""
    listen(worker)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            worker.send(m.Event("progress", 1, m.Tuple([1, 2, None])))

    def check(_process: Any, _silence: float, _begun: bool) -> None:
        raise Died("enough")

    worker.beside(flood)
    with pytest.raises(Died, match="enough"):
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

    worker.host._questions._answer = answer
    listen(worker)
    ends: list[str] = []

    def call() -> None:
        try:
            worker.host.call(m.Call(0, "node"))
        except Died as error:
            ends.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for one in threads:
        one.start()
    wait(lambda: len(worker.host._calls._pending) == 2)
    worker.send(m.Question(1, 1, None, "slow", None))
    wait(asked.is_set)
    for _ in range(100):
        worker.send(m.Event("progress", 1, None))  # these are left out
    for number in range(20):
        worker.send(m.Question(number + 2, 1, None, "more", None))
    wait(lambda: worker.host.dead is not None)
    go.set()
    for one in threads:
        one.join()
    assert len(ends) == 2
    assert "more than anybody could answer" in str(worker.host.dead)


def test_a_worker_that_reads_by_drops_is_given_up(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is for the whole message, however often a little goes through."""
    monkeypatch.setattr(outgoing, "SEND_SECONDS", 1.0)
    monkeypatch.setattr(outgoing, "BYTES_PER_SECOND", 2**40)
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.1):
            with contextlib.suppress(OSError):
                os.read(worker.parent.frames, 1000)

    worker.beside(drip)
    began = time.monotonic()
    with pytest.raises(Died, match="does not read"):
        worker.host.call(m.Call(0, "node", name="n" * 5_000_000))
    stop.set()
    assert worker.host.dead is not None
    assert time.monotonic() - began >= 1.0


def test_an_answer_that_is_too_long_is_a_refusal(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker waits for one, whatever comes of it."""
    frames = listen(worker)
    worker.host._questions._answer = lambda *_: "x" * 2000
    monkeypatch.setattr(m, "FRAME_BYTES", 1000)
    worker.send(m.Question(3, 1, None, "do", None))
    worker.send(m.Done(1, None))
    worker.host.call(m.Call(0, "node"))
    wait(lambda: any(isinstance(one, m.Answer) for one in frames))
    (found,) = [one for one in frames if isinstance(one, m.Answer)]
    assert found.error is not None
    assert "are more than" in found.error.message


def test_an_exception_is_told_in_lines_that_are_nobody_elses(worker: Worker) -> None:
    """In type, message and trace."""
    text = "first\n[core] ERROR forged\x1b[2J"
    worker.send_long(m.Failed(1, m.Trouble("error", text, text + "M" * 10**6, text)))
    with pytest.raises(Remote) as caught:
        worker.host.call(m.Call(0, "node"))
    trouble = caught.value.trouble
    assert trouble.type == "first\\x0a[core] ERROR forged\\x1b[2J"
    assert trouble.trace == "first\n  [core] ERROR forged\\x1b[2J"
    assert len(trouble.message) < 10_000


class Page:
    """ComfyUI's server, as far as it is told something."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, Any, Any]] = []
        self.instance = self

    def send_sync(self, event: Any, data: Any, sid: Any = None) -> None:
        """See ``PromptServer``."""
        self.told.append((event, data, sid))


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """In the place of ComfyUI's module ``server``."""
    found = Page()
    module: Any = types.ModuleType("server")
    module.PromptServer = found
    monkeypatch.setitem(sys.modules, "server", module)
    return found


def test_previews_and_text_of_a_pack_reach_the_page(page: Page) -> None:
    """``send_sync`` with ``BinaryEventTypes``, as in ComfyUI."""
    picture = numpy.full((4, 6, 3), 7, dtype=numpy.uint8)
    events.tell("send", [3, b"text", None], None)
    events.tell("send", [1, b"jpeg", "client"], None)
    events.tell("send", [2, ["JPEG", picture, 512], "client"], None)
    assert page.told[:2] == [(3, b"text", None), (1, b"jpeg", "client")]
    event, (kind, image, largest), sid = page.told[2]
    assert (event, kind, image.size, largest, sid) == (2, "JPEG", (6, 4), 512, "client")


@pytest.mark.parametrize(
    "event",
    [
        (2, b"no picture"), (2, ["JPEG", "no array", 5]), (2, ["EXE", numpy.zeros((1, 1, 3)), 5]),
        (2, ["JPEG", numpy.zeros((2, 2, 3)), 5]), (4, b"x"), (99, b"x"), (True, b"x"), (3, "text"),
        (3, ["x"]), (None, {}), ("execution_success", {"prompt_id": "other"}), ("x", object()),
    ],
)  # fmt: skip
def test_what_a_pack_may_not_tell_is_left_out(
    page: Page, caplog: pytest.LogCaptureFixture, event: tuple[Any, Any]
) -> None:
    """Told once, in the log; the call goes on."""
    events.tell("send", [*event, None], None)
    events.tell("progress", [1, 2, ["JPEG", event[1], 5]], None)
    assert page.told == []
    assert [one.name for one in caplog.records] == [events.__name__] * 2

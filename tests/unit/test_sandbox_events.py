"""What a worker tells beside its results: progress, events for the page, and interrupts by them."""

from __future__ import annotations

import logging
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import numpy
import pytest

from zimage_comfyui.sandbox.host import event_relay, pack_events, session
from zimage_comfyui.sandbox.host.pack_events import EVENTS_PER_SECOND
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.tests.fakes.hand_worker import Clock, Worker, by_hand, listen, tensor
from zimage_comfyui.tests.fakes.waiting import wait


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(clock: Clock) -> Iterator[Worker]:
    with by_hand(clock) as found:
        yield found


class InterruptedError_(Exception):
    """As ComfyUI's hook raises when the user interrupts."""


def test_events_outside_of_calls_are_so_many_a_second(
    worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is counted and told once; in the next second there is room again."""
    told: list[Any] = []
    monkeypatch.setattr(
        event_relay, "forward_event", lambda kind, value, _: told.append((kind, value))
    )
    caplog.set_level(logging.WARNING, pack_events.__name__)
    for second in range(2):
        clock.now += 1
        for number in range(EVENTS_PER_SECOND + 20):
            worker.send(m.Event("send", 0, m.List(["some.event", number, None])))
            worker.host.drain()
        assert len(told) == (second + 1) * EVENTS_PER_SECOND
    assert told[-1] == ("send", ["some.event", EVENTS_PER_SECOND - 1, None])
    assert worker.host._events.unsolicited.discarded == 40
    assert [one.name for one in caplog.records] == [pack_events.__name__]
    assert worker.host.process.end_reason is None


def test_other_events_belong_to_a_call(
    worker: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress of none is left out; what is too much is not even looked at."""
    told: list[Any] = []
    monkeypatch.setattr(event_relay, "forward_event", lambda kind, *_: told.append(kind))
    worker.send(m.Event("progress", 0, m.Tuple([1, 2, None])))
    for _ in range(EVENTS_PER_SECOND + 1):
        worker.host._events.unsolicited.take()
    worker.send(m.Event("send", 0, m.HostRef(7, "MODEL")))
    worker.host.drain()
    assert told == []
    assert worker.host.process.end_reason is None
    clock.now += 1
    worker.send(m.Event("send", 0, m.HostRef(7, "MODEL")))
    worker.host.drain()
    assert "bad message" in str(worker.host.process.end_reason)


@pytest.mark.parametrize("ends", [True, False])
def test_an_interrupt_while_progress_is_told_ends_the_call(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """The worker is asked to stop, and ended if it does not; the interrupt is what is raised."""
    monkeypatch.setattr(session, "GRACE_SECONDS", 0.5 if not ends else 60)
    frames = listen(worker)

    def told(_kind: str, _value: Any) -> None:
        raise InterruptedError_

    def obey() -> None:
        wait(lambda: any(isinstance(one, m.Cancel) for one in frames))
        worker.send(m.HostRequest(4, 1, None, "do", None))
        worker.send(m.Event("progress", 1, m.Tuple([2, 3, None])))
        if ends:
            worker.send(m.Failed(1, m.ErrorInfo("interrupted", "", "")))

    worker.beside(obey)
    worker.send(m.Event("progress", 1, m.Tuple([1, 3, None])))
    with pytest.raises(InterruptedError_):
        worker.host.call(m.Call(0, "node"), told)
    assert worker.host.process.end_reason == (None if ends else "interrupted")
    assert not worker.host.busy
    wait(lambda: any(isinstance(one, m.HostResponse) for one in frames))
    (answer,) = [one for one in frames if isinstance(one, m.HostResponse)]
    assert answer.error is not None
    assert answer.error.kind == "interrupted"


def test_an_interrupt_at_the_end_leaves_the_worker(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is over by then: nobody waits for it, and what it gave goes back."""
    monkeypatch.setattr(worker.host._events, "bucket", pack_events.TokenBucket(1, Clock()))
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
    assert worker.host.process.end_reason is None
    wait(lambda: any(isinstance(one, m.Returned) for one in frames))
    assert not [one for one in frames if isinstance(one, m.Cancel)]
    assert [one.leases for one in frames if isinstance(one, m.Returned)] == [[7]]


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
    monkeypatch.setattr(worker.host._events, "bucket", pack_events.TokenBucket(5, Clock()))
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
    pack_events.forward_event("send", [3, b"text", None], None)
    pack_events.forward_event("send", [1, b"jpeg", "client"], None)
    pack_events.forward_event("send", [2, ["JPEG", picture, 512], "client"], None)
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
    pack_events.forward_event("send", [*event, None], None)
    pack_events.forward_event("progress", [1, 2, ["JPEG", event[1], 5]], None)
    assert page.told == []
    assert [one.name for one in caplog.records] == [pack_events.__name__] * 2

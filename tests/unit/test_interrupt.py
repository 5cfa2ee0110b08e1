"""A prompt that does not react to an interrupt is ended with its process, and no other is."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zimage_comfyui.config import Settings
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import guardian
from zimage_comfyui.patches.queue import interrupt
from zimage_comfyui.patches.queue.interrupt import Interrupt
from zimage_comfyui.patches.queue.sampler_steps import Steps
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue
from zimage_comfyui.tests.fakes.slots import slots
from zimage_comfyui.tests.fakes.waiting import wait

GRACE = 0.01


class Held(PromptQueue):
    """As the durable one, which can stop giving out."""

    held = False

    def hold(self) -> None:
        """Nothing more."""
        self.held = True

    def task_done(self, item_id: int, history_result: Any, status: Any, *_rest: Any) -> None:
        """As newer hosts have it."""
        super().task_done(item_id, history_result, status)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A host's server with a prompt that runs, and what its guardian is asked (no peer: none)."""

    async def answer(_request: web.Request) -> web.Response:
        here.seen()
        return web.Response()

    here = SimpleNamespace(heard=True, asked=[], sent=[], seen=lambda: None)
    here.app = web.Application()
    here.app.router.add_post("/interrupt", answer)
    here.app.router.add_post("/api/interrupt", answer)
    here.app.router.add_post("/other", answer)
    here.server = SimpleNamespace(
        app=here.app, last_node_id="7", send_sync=lambda *event: here.sent.append(event)
    )
    here.queue = here.server.prompt_queue = Held(here.server)
    here.begin = lambda number, id, client=None: here.queue.currently_running.update(
        {number: (0, id, {"7": {"class_type": "Slow"}}, {"client_id": client}, [])}
    )
    monkeypatch.setattr(guardian, "is_heard", lambda: here.heard)
    monkeypatch.setattr(guardian, "ask_to_be_killed", lambda why: not here.asked.append(why))
    monkeypatch.setattr(interrupt, "RETRY_SECONDS", GRACE)
    here.sleep = time.sleep
    clock = SimpleNamespace(sleep=lambda seconds: here.sleep(seconds), time=time.time)
    monkeypatch.setattr(interrupt, "time", clock)
    here.slot = slots(here.app)["interrupt"]
    here.part = Interrupt(here.slot, here.server, GRACE)
    return here


def post(world: SimpleNamespace, *bodies: bytes, path: str = "/interrupt") -> None:
    """Requests, one after the other; nobody watches a prompt any more after this."""

    async def run() -> None:
        async with TestClient(TestServer(world.app)) as client:
            for body in bodies:
                assert (await client.post(path, data=body)).status == 200

    asyncio.run(run())


def unwatched() -> bool:
    """Whether nobody waits for the end of a prompt."""
    return not [one for one in threading.enumerate() if one.name == "zimage-interrupt"]


@pytest.mark.parametrize("body", [b"", b'{"prompt_id": "a"}', b'{"prompt_id": ""}', b"{"])
@pytest.mark.parametrize("path", ["/interrupt", "/api/interrupt"])
def test_it_ends_as_the_host_would_end_it(world, body: bytes, path: str) -> None:
    """In the history and for its client; no other begins, and the guardian is asked once."""
    world.part.apply()
    world.begin(3, "a", "c")
    post(world, body, path=path)
    wait(unwatched)
    assert world.queue.held
    (why,) = world.asked
    assert why.endswith("/ a does not react to an interrupt")
    status = world.queue.history["a"]["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    event, data = status["messages"][-1]
    assert event == "execution_interrupted"
    assert (data["prompt_id"], data["node_id"], data["node_type"]) == ("a", "7", "Slow")
    assert world.sent == [(event, data, "c"), ("executing", {"node": None, "prompt_id": "a"}, "c")]
    assert world.part.details() == {"seconds": GRACE, "ended": 1}


@pytest.mark.parametrize(("waits_for_step", "seconds"), [(True, 40), (False, GRACE)])
def test_a_sampler_with_slow_steps_has_two_of_them(
    world, waits_for_step: bool, seconds: float
) -> None:
    """It notices an interrupt at the end of a step; a number that a person has set is honoured."""
    slept: list[float] = []
    now = [0.0]
    steps = Steps(clock=lambda: now[0])
    for index in range(2):
        now[0] += 20
        steps.step_done(index, 8)
    world.sleep = slept.append
    world.part.waits_for_step = waits_for_step
    world.part.apply()
    world.begin(3, "a")
    with steps.observed():
        post(world, b"")
        wait(unwatched)
    assert slept[0] == seconds


def test_a_process_that_nobody_ends_says_that_it_runs_nothing(world, monkeypatch) -> None:
    """Its guardian has gone in that moment; the next one is asked."""
    told: list[list[str]] = []

    def ask(_why: str) -> bool:
        told.append(world.part.reasons())
        return len(told) > 2

    monkeypatch.setattr(guardian, "ask_to_be_killed", ask)
    world.part.apply()
    world.begin(3, "a", "c")
    assert world.part.reasons() == []
    post(world, b"")
    wait(unwatched)
    assert told == 3 * [["interrupt"]]


def test_nobody_s_prompt_is_told_to_every_page_as_the_host_tells_it(world) -> None:
    """That it was interrupted, and nothing else."""
    world.part.apply()
    world.begin(3, "a")
    post(world, b"")
    wait(unwatched)
    assert [(event, sid) for event, _, sid in world.sent] == [("execution_interrupted", None)]


def begin_later(world: SimpleNamespace) -> None:
    """The prompt ends as it should, and the next begins, within the grace."""
    begun = threading.Event()

    def swap() -> None:
        del world.queue.currently_running[3]
        world.begin(4, "b")
        begun.set()

    world.seen, world.sleep = swap, lambda _seconds: begun.wait(60)


@pytest.mark.parametrize(
    ("body", "before"),
    [
        (b'{"prompt_id": "b"}', lambda world: None),
        (b"", begin_later),
        (b'{"prompt_id": "a"}', begin_later),
    ],
    ids=["another was meant", "it reacted", "it reacted by name"],
)
def test_no_other_prompt_suffers(world, body: bytes, before: Callable[[Any], None]) -> None:
    """Neither the one that runs when another is named, nor one that begins later."""
    world.part.apply()
    world.begin(3, "a")
    before(world)
    post(world, body)
    wait(unwatched)
    assert len(world.queue.currently_running) == 1
    assert (world.asked, world.queue.held, world.sent) == ([], False, [])


@pytest.mark.parametrize("missing", ["guardian", "durable queue"])
def test_without_a_guardian_it_is_told(world, missing: str, caplog, monkeypatch) -> None:
    """Once in the log and in health, until the prompt has ended; it is left running."""
    world.heard = missing != "guardian"
    if missing == "durable queue":  # what waits would be lost with the process
        monkeypatch.delattr(Held, "hold")
    world.part.apply()
    world.begin(3, "a")
    post(world, b"", b"")
    wait(world.part.reasons)
    assert world.part.reasons() == ["interrupt"]
    assert "a" not in world.queue.history
    world.queue.task_done(3, {"outputs": {}}, None)
    assert world.part.reasons() == []
    wait(unwatched)
    told = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert ["[ZI-INTERRUPT]" in one.getMessage() for one in told] == [True]
    assert world.asked == []


def test_a_guardian_that_comes_later_is_asked(world) -> None:
    """Its server waits for it."""
    world.heard = False
    world.part.apply()
    world.begin(3, "a")
    post(world, b"")
    wait(world.part.reasons)
    world.heard = True
    wait(unwatched)
    assert len(world.asked) == 1


@pytest.mark.parametrize("off", ["never", "reverted", "elsewhere"])
def test_otherwise_nothing_happens(world, off: str) -> None:
    """A grace of 0 is for ever, other requests are nothing to it."""
    world.part.grace = 0 if off == "never" else GRACE
    world.part.apply()
    world.part.apply()
    if off == "reverted":
        world.part.revert()
        world.part.revert()
    assert world.part.active is (off != "reverted")
    world.begin(3, "a")
    post(world, b"", path="/other" if off == "elsewhere" else "/interrupt")
    wait(unwatched)
    assert (world.asked, world.sent, world.part.reasons()) == ([], [], [])
    assert world.slot.middleware == (None if off == "reverted" else world.part.handle)


@pytest.mark.parametrize("what", ["serves", "queue"])
def test_a_changed_host_is_refused(world, what: str) -> None:
    """Nothing is changed then."""
    if what == "serves":
        world.part.slot.installed = False
    else:
        world.server.prompt_queue = SimpleNamespace(mutex=None)
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        world.part.apply()
    assert not world.part.active
    assert world.slot.middleware is None


def test_the_setting() -> None:
    """Seconds; for what is no number the default counts, and it is noted."""
    for text, seconds in {"": 30.0, "0": 0.0, "2.5": 2.5, "-1": None, "x": None}.items():
        settings = Settings.from_environment({"ZIMAGE_INTERRUPT": text})
        assert settings.interrupt_seconds == (30.0 if seconds is None else seconds)
        noted = [] if seconds is not None else [("ZIMAGE_INTERRUPT", text, "0, 30, …")]
        assert [*settings.unfit] == noted

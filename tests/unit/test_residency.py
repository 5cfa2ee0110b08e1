"""Models are unloaded once nothing has run for long enough, and memory goes back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from zimage_comfyui.config import Settings
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.memory import idle_unload, readings
from zimage_comfyui.patches.memory.idle_unload import Residency
from zimage_comfyui.tests.fakes.memory_host import GPU, MIB, Host, Patcher, Queue
from zimage_comfyui.tests.fakes.waiting import wait

IDLE = 600.0


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def host(monkeypatch) -> Host:
    """A host with a GPU."""
    return Host(monkeypatch, GPU, 100 * MIB)


@pytest.fixture
def queue() -> Queue:
    """The server's queue."""
    return Queue()


@pytest.fixture
def watch(host, queue) -> Residency:
    """A watch with a clock of its own; nobody looks but the test."""
    return Residency(SimpleNamespace(prompt_queue=queue), IDLE, Clock())


def run(watch: Residency, queue: Queue, at: float) -> None:
    """A prompt runs at a time, and somebody looks."""
    watch.clock.now = at
    queue.task_counter += 1
    assert not watch.look()


def test_idle_models_are_asked_for_once(watch, queue) -> None:
    """After the idle time, not before, and again only after another prompt."""
    run(watch, queue, 100)
    watch.clock.now = 100 + IDLE - 1
    assert not watch.look()
    watch.clock.now = 100 + IDLE
    assert watch.look()
    assert queue.flags == {"free_memory": True}
    watch.clock.now *= 10
    assert not watch.look()
    run(watch, queue, watch.clock.now)
    watch.clock.now += IDLE
    assert watch.look()


def test_a_server_that_has_done_nothing_is_left_alone(watch, queue) -> None:
    """There is nothing to unload."""
    watch.clock.now = 10 * IDLE
    assert not watch.look()
    assert not queue.flags


@pytest.mark.parametrize("where", ["waits", "runs"])
def test_nothing_is_unloaded_while_something_waits_or_runs(watch, queue, where: str) -> None:
    """However long it takes; the idle time begins at its end."""
    run(watch, queue, 0)
    if where == "waits":
        queue.queue = ["item"]
    else:
        queue.currently_running = {0: "item"}
    for now in (IDLE, 2 * IDLE):
        watch.clock.now = now
        assert not watch.look()
    queue.queue, queue.currently_running = [], {}
    watch.clock.now = 3 * IDLE - 1
    assert not watch.look()
    watch.clock.now = 3 * IDLE
    assert watch.look()


def test_a_queue_that_takes_the_place_of_another_is_seen(watch, queue) -> None:
    """The durable queue replaces the host's after this part was applied."""
    assert not watch.look()
    watch.server.prompt_queue = other = Queue()
    run(watch, other, 0)
    watch.clock.now = IDLE
    assert watch.look()
    assert other.flags
    assert not queue.flags


def test_what_the_worker_forgets_is_given_back(host, watch) -> None:
    """Applied, applied twice, reverted; not when an executor is made."""
    executor_type = host.execution.PromptExecutor
    original = executor_type.reset
    for _ in range(2):
        watch.apply()
        assert watch.active
    executor = executor_type()
    assert host.collected == []
    executor.reset()
    assert executor.resets == 2
    assert host.collected == ["cache"]
    assert watch.unloads == 1
    for _ in range(2):
        watch.revert()
        assert not watch.active
        assert executor_type.reset is original
    executor.reset()
    assert host.collected == ["cache"]


def test_somebody_looks_until_it_is_reverted(host, queue) -> None:
    """A thread of its own; without an idle time there is none."""
    server = SimpleNamespace(prompt_queue=queue)
    watch = Residency(server, 0.01)
    watch.apply()
    queue.task_counter += 1
    assert wait(lambda: queue.flags)
    thread = watch._thread
    watch.revert()
    assert not thread.is_alive()
    never = Residency(server, 0)
    never.apply()
    assert never.active
    assert never._thread is None
    never.revert()


def test_a_different_host_is_left_alone(host, watch) -> None:
    """A queue without flags, an executor that resets in another way."""
    watch.server.prompt_queue = SimpleNamespace()
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        watch.apply()
    watch.server.prompt_queue = Queue()
    host.execution.PromptExecutor.reset = theirs = lambda: None
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        watch.apply()
    assert host.execution.PromptExecutor.reset is theirs
    assert not watch.active
    assert watch._thread is None


def test_health_tells_models_and_who_holds_them(host, watch) -> None:
    """Size, and a count that grows with each clone."""
    model = Patcher(30 * MIB)
    host.management.load_models_gpu([model])
    (alone,) = watch.details()["models"]
    assert (alone["name"], alone["mb"]) == ("Module", 30.0)
    clone = model.clone()
    (held,) = watch.details()["models"]
    assert held["references"] == alone["references"] + 1
    assert clone.is_clone(model)
    assert {"idle_minutes": 10.0, "unloads": 0}.items() <= watch.details().items()


def test_collecting_all_takes_what_was_kept_out(host) -> None:
    """A cycle that was frozen goes too, and things are kept out again afterwards."""
    readings.freeze()
    before = readings.gc.get_freeze_count()
    assert before > 0
    readings.collect_all()
    assert readings.gc.get_freeze_count() > 0
    readings.thaw()
    assert readings.gc.get_freeze_count() == 0


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("", 10.0), ("0", 0.0), ("2.5", 2.5), *((text, None) for text in ("x", "-1", "inf", "nan"))],
)
def test_the_idle_time_is_a_setting(text: str, minutes: float | None) -> None:
    """``$ZIMAGE_IDLE_MINUTES``; for what is no such number the default counts, and it is noted."""
    settings = Settings.from_environment({"ZIMAGE_IDLE_MINUTES": text})
    assert settings.idle_minutes == (10.0 if minutes is None else minutes)
    noted = [] if minutes is not None else [("ZIMAGE_IDLE_MINUTES", text, "0, 10, …")]
    assert [*settings.unfit] == noted


def test_a_setting_that_cannot_be_used_leaves_the_default(host, queue, monkeypatch) -> None:
    """Ten minutes count then."""
    monkeypatch.setenv("ZIMAGE_IDLE_MINUTES", "soon")
    monkeypatch.setattr(idle_unload.comfyui, "server", lambda: SimpleNamespace(prompt_queue=queue))
    assert idle_unload.create().idle == IDLE

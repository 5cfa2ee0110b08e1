"""How a prompt ended gets to the disk, later if the disk is full when it ends."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import comfyui, guardian, handover
from zimage_comfyui.patches.base.prompt_outcome import is_interrupt
from zimage_comfyui.patches.queue import worker_thread
from zimage_comfyui.patches.queue.durable_queue import durable
from zimage_comfyui.patches.queue.prompt_store import Store
from zimage_comfyui.patches.queue.worker_thread import fail_running
from zimage_comfyui.sandbox.host.raised import host_exception
from zimage_comfyui.sandbox.protocol.messages import ErrorInfo
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in a folder of its own."""
    made = Store(tmp_path)
    yield made
    made.close()


def run(queue: Any) -> None:
    """A prompt from its acceptance to its end."""
    queue.put((0, "a", {}, {}, [], {}))
    queue.get()
    queue.task_done(0, {"outputs": {"9": {}}}, None)


def test_an_end_is_on_disk_before_its_client_hears_of_it(store: Store) -> None:
    """The host tells of it after ``task_done``."""
    queue = durable(PromptQueue(SimpleNamespace()), store)
    run(queue)
    assert store.ended_prompt("a") is not None


def test_a_prompt_that_is_given_up_has_ended_on_disk(store: Store) -> None:
    """Whoever gives it up may end the process next, and it must not run again."""
    told: list[tuple[str, str]] = []
    server = SimpleNamespace(client_id="somebody who came before")
    server.send_sync = lambda event, _, to: told.append((event, to))
    queue = durable(Processed(server), store)
    for id, extra in (("a", {"client_id": "c"}), ("b", {})):  # of nobody: not for every page
        queue.put((0, id, {}, extra, [], {}))
        queue.get()
        fail_running(queue, ZImageError("ZI-WORKER", found="-"))
        assert store.ended_prompt(id) is not None
    assert told == [("execution_error", "c"), ("executing", "c")]


@pytest.mark.parametrize(
    ("error", "code"), [(KeyError("Gone"), "ZI-NODE-GONE"), (OSError("no"), "ZI-WORKER")]
)
def test_why_a_worker_has_failed_is_found_in_any_prompt(error: Exception, code: str) -> None:
    """A class that is not there has a code of its own; what is no node does no harm."""
    queue = PromptQueue(None)
    queue.currently_running[0] = (0, "a", {"1": {"class_type": "Gone"}, "2": "text"}, {}, [])
    assert worker_thread._explain(queue, error).code == code


class Processed(PromptQueue):
    """As newer hosts have it."""

    def task_done(self, item_id: int, history_result: Any, status: Any, *_rest: Any) -> None:
        """With a function for the prompt."""
        super().task_done(item_id, history_result, status)


def full(*_values: object) -> None:
    """A write to a disk without room."""
    raise ZImageError("ZI-QUEUE-FILE", path="p", found="database or disk is full")


@pytest.mark.parametrize(
    "later",
    [
        lambda queue: queue.put((1, "b", {}, {}, [], {})),
        lambda queue: queue.give_back(),
        lambda queue: queue.put((1, "a", {}, {}, [], {})),
    ],
    ids=["the next prompt", "an orderly end", "the same id again"],
)
def test_an_end_that_was_not_written_is_written_later(
    store: Store, monkeypatch, later: Callable[[Any], object]
) -> None:
    """So that no prompt runs again although its client was told of its end."""
    queue = durable(PromptQueue(SimpleNamespace()), store)
    with monkeypatch.context() as patch:
        patch.setattr(store, "end", full)
        run(queue)
        queue.history.settle()
    assert queue.history["a"]["outputs"] == {"9": {}}
    assert [row.id for row in store.requeue_unfinished()] == ["a"]
    later(queue)
    again = "a" in [item[1] for item in queue.queue]
    assert ("a" in [row.id for row in store.requeue_unfinished()]) is again
    assert (store.ended_prompt("a") is None) is again


@pytest.fixture
def guarded(store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker's thread with its queue, and a guardian that is asked for another process."""
    here = SimpleNamespace(asked=[])
    server = SimpleNamespace(queue_updated=lambda: None)
    here.queue = server.prompt_queue = durable(PromptQueue(server), store)
    here.queue.task_counter = 2  # as the host counts what it has given out
    monkeypatch.setattr(comfyui, "server", lambda: server)
    monkeypatch.setattr(guardian, "is_heard", lambda: True)
    monkeypatch.setattr(guardian, "ask_to_be_replaced", lambda why: not here.asked.append(why))
    monkeypatch.setattr(threading.current_thread(), "_name", "Thread-1 (prompt_worker)")
    for number, id in enumerate("ab"):
        here.queue.put((number, id, {}, {}, [], {}))
    here.queue.get()
    return here


def test_a_prompt_is_left_to_the_next_process(store: Store, guarded) -> None:
    """It waits at its place again, its process has not died of it, and no other is begun here."""
    with pytest.raises(handover.PromptHandedOver):
        handover.hand_over("why")
    assert guarded.asked == ["why"]
    assert not guarded.queue.currently_running
    assert [item[1] for item in guarded.queue.queue] == ["a", "b"]
    taking = threading.Thread(target=guarded.queue.get, daemon=True)
    taking.start()
    assert guarded.queue.at_rest.wait(60)
    assert [item[1] for item in guarded.queue.queue] == ["a", "b"]
    store.close()
    again = Store(store.path.parent)
    assert [(row.id, row.crash_count) for row in again.requeue_unfinished()] == [("a", 0), ("b", 0)]
    again.close()
    guarded.queue.queue.clear()
    guarded.queue._may_run.set()
    taking.join()


@pytest.mark.parametrize(
    "why", ["no guardian", "deaf guardian", "first prompt", "secrets", "other thread"]
)
def test_a_prompt_that_has_to_run_here_runs_here(guarded, monkeypatch, why: str) -> None:
    """The first of a process above all: else one that never fits would go round for ever."""
    if why == "no guardian":
        monkeypatch.setattr(guardian, "is_heard", lambda: False)
    elif why == "deaf guardian":
        monkeypatch.setattr(guardian, "ask_to_be_replaced", lambda why: False)
    elif why == "first prompt":
        guarded.queue.task_counter = 1
    elif why == "secrets":
        guarded.queue.currently_running[0] = (0, "a", {}, {}, [], {"api_key_comfy_org": "key"})
    else:
        monkeypatch.setattr(threading.current_thread(), "_name", "Thread-2")
    handover.hand_over("why")
    assert guarded.asked == []
    assert list(guarded.queue.currently_running) == [0]
    assert guarded.queue._may_run.is_set()


def test_what_is_left_is_no_failure_of_a_node_or_of_the_worker() -> None:
    """It gets through both, and the worker goes on to ask its queue."""
    calls: list[str] = []

    async def node(prompt_id: str, unique_id: str, obj: Any) -> None:
        raise handover.PromptHandedOver("why")

    def work(q: Any, server_instance: Any) -> None:
        calls.append("work")
        if len(calls) == 1:
            asyncio.run(worker_thread.translate_exits(node)("p", "1", None))

    worker_thread.keep_running(work)(None, None)
    assert calls == ["work", "work"]


class InterruptProcessingException(BaseException):
    """As in newer hosts; in older ones it is an ``Exception``."""


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> type[BaseException]:
    """The host's own class for a prompt that is cancelled."""
    module: Any = ModuleType("comfy.model_management")
    module.InterruptProcessingException = InterruptProcessingException
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return InterruptProcessingException


@pytest.mark.parametrize("ends", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_interrupt_is_no_end_of_a_node(interrupt, ends: type[BaseException]) -> None:
    """It reaches the host's executor as it is; what else is no ``Exception`` names the node."""

    async def node(prompt_id: str, unique_id: str, obj: Any) -> None:
        raise obj

    with pytest.raises(interrupt):
        asyncio.run(worker_thread.translate_exits(node)("p", "1", interrupt()))
    with pytest.raises(ZImageError, match="ZI-NODE-EXIT"):
        asyncio.run(worker_thread.translate_exits(node)("p", "1", ends()))


def test_a_host_without_such_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken for an interrupt."""
    monkeypatch.setitem(sys.modules, "comfy.model_management", ModuleType("nothing"))
    assert not is_interrupt(InterruptProcessingException())
    monkeypatch.delitem(sys.modules, "comfy.model_management")
    assert not is_interrupt(InterruptProcessingException())


def test_an_interrupt_that_leaves_the_executor_ends_the_prompt_as_interrupted(interrupt) -> None:
    """One that comes beside the nodes, where the host does not expect it; the worker goes on."""
    sent: list[Any] = []
    server = SimpleNamespace(send_sync=lambda *event: sent.append(event), last_node_id="3")
    queue = PromptQueue(server)
    graph = {"3": {"class_type": "Node", "inputs": {}}}
    queue.put((0, "a", graph, {"client_id": "c"}, []))
    queue.task_done = lambda *values: PromptQueue.task_done(queue, *values[:3])

    def work(q: Any, server_instance: Any) -> None:
        if q.get() is not None:
            raise interrupt

    worker_thread.keep_running(work)(queue, server)
    status = queue.history["a"]["status"]
    assert [event for event, _ in status["messages"]][1:] == ["execution_interrupted"]
    assert status["messages"][1][1]["node_type"] == "Node"
    assert [(event, to) for event, _, to in sent] == [
        ("execution_interrupted", "c"), ("executing", "c"),
    ]  # fmt: skip
    assert queue.currently_running == {}


@pytest.mark.parametrize(
    ("text", "sandboxed", "noted"),
    [
        ("CUDA error: an illegal memory access was encountered\nCUDA …", False, ["sick"]),
        ("CUDA error: device-side assert triggered", False, ["kill"]),
        ("CUDA error: out of memory", False, []),
        ("no CUDA error: at all", False, []),
        ("CUDA error: an illegal memory access was encountered", True, []),
    ],
)
def test_what_a_gpu_does_not_get_over(
    text: str, sandboxed: bool, noted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is noted for the guardian; a pack in a sandbox can say it and has nobody replaced."""
    found: list[str] = []
    monkeypatch.setattr(guardian, "report_failure", lambda what, _reason: found.append(what))
    trouble = ErrorInfo("error", "RuntimeError", text, "")
    error = host_exception("pack", "Node", trouble) if sandboxed else RuntimeError(text)
    assert str(error) == text
    worker_thread.report_gpu_failure(error)
    assert found == noted

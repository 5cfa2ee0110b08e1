"""How a prompt ended gets to the disk, later if the disk is full when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches import worker
from zimage_comfyui.patches.queue import durable
from zimage_comfyui.patches.store import Store
from zimage_comfyui.patches.worker import abandon
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


@pytest.mark.parametrize(
    "later",
    [
        lambda queue: queue.get_flags(),
        lambda queue: queue.get(),
        lambda queue: queue.get_history("a"),
        lambda queue: next(queue.listed(None, -1)),
        lambda queue: queue.give_back(),
        lambda queue: queue.put((1, "b", {}, {}, [], {})),
    ],
    ids=["told", "the next prompt", "its entry", "all entries", "an orderly end", "accepting"],
)
def test_an_end_is_on_disk_when_anybody_could_know(
    store: Store, later: Callable[[Any], object]
) -> None:
    """The client's last event does not wait for it; what comes after it does."""
    queue = durable(PromptQueue, store)(SimpleNamespace())
    run(queue)
    assert store.ended("a") is None
    later(queue)
    assert store.ended("a") is not None


def test_a_prompt_that_is_given_up_has_ended_on_disk(store: Store) -> None:
    """Whoever gives it up may end the process next, and it must not run again."""
    told: list[tuple[str, str]] = []
    server = SimpleNamespace(client_id="somebody who came before")
    server.send_sync = lambda event, _, to: told.append((event, to))
    queue = durable(Processed, store)(server)
    for id, extra in (("a", {"client_id": "c"}), ("b", {})):  # of nobody: not for every page
        queue.put((0, id, {}, extra, [], {}))
        queue.get()
        abandon(queue, ZImageError("ZI-WORKER", found="-"))
        assert store.ended(id) is not None
    assert told == [("execution_error", "c"), ("executing", "c")]


@pytest.mark.parametrize(
    ("error", "code"), [(KeyError("Gone"), "ZI-NODE-GONE"), (OSError("no"), "ZI-WORKER")]
)
def test_why_a_worker_has_failed_is_found_in_any_prompt(error: Exception, code: str) -> None:
    """A class that is not there has a code of its own; what is no node does no harm."""
    queue = PromptQueue(None)
    queue.currently_running[0] = (0, "a", {"1": {"class_type": "Gone"}, "2": "text"}, {}, [])
    assert worker._why(queue, error).code == code


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
    queue = durable(PromptQueue, store)(SimpleNamespace())
    with monkeypatch.context() as patch:
        patch.setattr(store, "end", full)
        run(queue)
        queue.settle()
    assert queue.history["a"]["outputs"] == {"9": {}}
    assert [row.id for row in store.recover()] == ["a"]
    later(queue)
    again = "a" in [item[1] for item in queue.queue]
    assert ("a" in [row.id for row in store.recover()]) is again
    assert (store.ended("a") is None) is again

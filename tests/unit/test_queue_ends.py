"""How a prompt ended gets to the disk, later if the disk is full when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.queue import durable
from zimage_comfyui.patches.store import Store
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in a folder of its own."""
    made = Store(tmp_path)
    yield made
    made.close()


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
    queue.put((0, "a", {}, {}, [], {}))
    queue.get()
    with monkeypatch.context() as patch:
        patch.setattr(store, "end", full)
        queue.task_done(0, {"outputs": {"9": {}}}, None)
    assert queue.history["a"]["outputs"] == {"9": {}}
    assert [row.id for row in store.recover()] == ["a"]
    later(queue)
    again = "a" in [item[1] for item in queue.queue]
    assert ("a" in [row.id for row in store.recover()]) is again
    assert (store.ended("a") is None) is again

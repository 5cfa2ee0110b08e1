"""The history of the durable queue is a dictionary to the host, and lies on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.queue import history_on_disk
from zimage_comfyui.patches.queue.durable_queue import durable
from zimage_comfyui.patches.queue.history_on_disk import HistoryOnDisk
from zimage_comfyui.patches.queue.prompt_store import Limits, Store
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue

GRAPH = {"1": {"class_type": "A", "inputs": {"text": "图"}}}
EXTRA = {"client_id": "c"}
OUTPUTS = {"1": {"images": [{"filename": "图 1.webp"}]}}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where stores lie; they are closed at the end."""
    yield tmp_path
    while OPENED:
        OPENED.pop().close()


OPENED: list[Store] = []


def queue_in(folder: Path, limits: Limits | None = None) -> Any:
    """The durable queue of a new process, whatever the one before did."""
    while OPENED:
        OPENED.pop().close()
    OPENED.append(Store(folder, limits))
    return durable(PromptQueue(SimpleNamespace()), OPENED[0])


def run(queue: Any, *ids: str) -> None:
    """Prompts, one after the other."""
    for number, id in enumerate(ids):
        queue.put((number, id, GRAPH, EXTRA, ["1"], {}))
        queue.get()
        end(queue)


def end(queue: Any, outputs: Any = OUTPUTS) -> None:
    """As the host's worker ends what runs, and goes on."""
    queue.task_done(0, {"outputs": outputs, "meta": {}}, {"status_str": "success"})
    queue.get_flags()


def plain(value: object) -> Any:
    """As a client gets it."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("restarted", [False, True], ids=["the same process", "the next one"])
def test_entries_from_disk_are_those_from_memory(folder: Path, restarted: bool) -> None:
    """Also in the process that has run their prompts."""
    queue = queue_in(folder)
    run(queue, *"abcd")
    queue = queue_in(folder) if restarted else queue
    entry = {"outputs": OUTPUTS, "meta": {}, "status": {"status_str": "success"}}
    expected = {
        id: {"prompt": [number, id, GRAPH, EXTRA, ["1"]], **entry}
        for number, id in enumerate("abcd")
    }
    found = plain(queue.history.copy())
    assert found == expected
    assert list(found) == list(reversed(list(reversed(queue.history)))) == list("abcd")
    assert len(queue.history) == 4
    assert "e" not in queue.history
    assert queue.history.get("e") is None


def test_counting_goes_on_after_a_restart(folder: Path) -> None:
    """Above all numbers of the history, which are integers as before: the page sorts by them."""
    run(queue_in(folder), *"abc")
    queue = queue_in(folder)
    assert queue.server.number == 3
    numbers = [entry["prompt"][0] for entry in queue.history.values()]
    assert [(number, type(number)) for number in numbers] == [(0, int), (1, int), (2, int)]


def test_memory_holds_no_entries(folder: Path) -> None:
    """However many have ended."""
    queue = queue_in(folder)
    run(queue, *map(str, range(30)))
    assert (len(queue.history), queue.history._unwritten) == (30, {})


def test_limits_hold(folder: Path) -> None:
    """In memory as well, once there is time."""
    queue = queue_in(folder, Limits(count=1))
    run(queue, *"abc")
    queue.get()
    assert list(queue.history) == ["c"]
    with pytest.raises(KeyError):
        queue.history["b"]


def test_deleting(folder: Path) -> None:
    """One, one that is not there, and all; for the next process as well."""
    queue = queue_in(folder)
    run(queue, *"abcd")
    for id in ("a", "d", "x"):
        queue.delete_history_item(id)
    assert list(queue.history) == list(queue_in(folder).history) == ["b", "c"]
    queue = queue_in(folder)
    run(queue, "e")
    queue.wipe_history()
    assert dict(queue.history) == {}
    run(queue, "f")
    assert list(queue.history) == list(queue_in(folder).history) == ["f"]


def test_an_id_again(folder: Path) -> None:
    """Its old entry goes when it is accepted."""
    queue = queue_in(folder)
    run(queue, *"abc")
    for id in "ca":
        queue.put((9, id, GRAPH, EXTRA, ["1"], {}))
        assert id not in queue.history
    assert list(queue.history) == ["b"]


def full(*_values: object) -> None:
    """A write to a disk that fails."""
    raise ZImageError("ZI-QUEUE-FILE", path="p", found="disk I/O error")


def test_a_disk_that_takes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended is there, what was to be deleted stays, and nobody hears an exception."""
    queue = queue_in(folder)
    run(queue, "a")
    with monkeypatch.context() as broken:
        for write in ("end", "remove"):
            broken.setattr(queue.store, write, full)
        queue.put((1, "b", GRAPH, EXTRA, ["1"], {}))
        queue.get()
        end(queue)
        queue.delete_history_item("a")
        queue.wipe_history()
        assert plain(queue.history["b"]["outputs"]) == OUTPUTS
    assert list(queue.history) == ["a", "b"]
    run(queue, "c")
    assert list(queue_in(folder).history) == ["a", "b", "c"]


def test_a_full_history_on_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host takes the oldest out when a prompt ends; where that fails, it ends all the same."""
    queue = queue_in(folder)
    queue.most = 2
    run(queue, *"abc")
    for id in "de":
        queue.put((1, id, GRAPH, EXTRA, ["1"], {}))
    with monkeypatch.context() as broken:
        for write in ("end", "remove"):
            broken.setattr(queue.store, write, full)
        for _ in "de":
            queue.get()
            end(queue)
    assert {*"de"} <= {*queue.history}
    queue.give_back()
    assert {*"de"} <= {*queue_in(folder).history}


def test_an_end_that_is_only_in_memory_can_be_deleted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before it is on disk: the prompt would run again."""
    queue = queue_in(folder)
    with monkeypatch.context() as broken:
        broken.setattr(queue.store, "end", full)
        run(queue, "a")
        queue.delete_history_item("a")
        assert "a" in queue.history
    queue.delete_history_item("a")
    assert "a" not in queue.history
    assert queue_in(folder).queue == []


def test_packs_assign_to_it(folder: Path) -> None:
    """Some wipe so, some keep a part; the disk follows."""
    queue = queue_in(folder)
    run(queue, *"abcd")
    queue.history = {id: entry for id, entry in queue.history.items() if id in "bd"}
    run(queue, "e")
    assert list(queue.history) == list(queue_in(folder).history) == ["b", "d", "e"]
    queue = queue_in(folder)
    queue.history = {}
    run(queue, "f")
    assert list(queue.history) == list(queue_in(folder).history) == ["f"]


def test_packs_put_entries_in(folder: Path) -> None:
    """Those of prompts that never were in this queue stay in memory; others can be changed."""
    queue = queue_in(folder)
    run(queue, "a")
    queue.history["restored"] = {"prompt": (0, "restored", {}, {}, []), "outputs": OUTPUTS}
    queue.history["a"] = {**queue.history["a"], "outputs": {}}
    assert len(queue.history) == 2
    run(queue, "b")
    assert queue.history["restored"]["outputs"] == OUTPUTS
    assert len(queue.history) == len([*queue.history]) == 3
    queue.delete_history_item("restored")
    assert "restored" not in queue.history
    assert queue_in(folder).history["a"]["outputs"] == {}


@pytest.mark.parametrize("runs", [False, True], ids=["waits", "runs"])
def test_no_pack_ends_a_prompt_of_the_queue(folder: Path, runs: bool) -> None:
    """It is there after a death, whatever somebody wrote about it, and its own end counts."""
    queue = queue_in(folder)
    queue.put((0, "a", GRAPH, EXTRA, ["1"], {}))
    if runs:
        queue.get()
    queue.history["a"] = {"prompt": (0, "a", {}, {}, []), "outputs": {"other": {}}}
    queue.history.settle()
    queue = queue_in(folder)
    assert [item[1] for item in queue.queue] == ["a"]
    queue.history["a"] = {"prompt": (0, "a", {}, {}, []), "outputs": {"other": {}}}
    queue.get()
    end(queue)
    assert queue_in(folder).history["a"]["outputs"] == OUTPUTS


def test_an_entry_that_cannot_be_read_says_so(folder: Path, caplog) -> None:
    """And nothing else suffers: others are listed, and it can be deleted."""
    queue = queue_in(folder)
    run(queue, *"ab")
    queue.get()
    queue.store.connection.execute("UPDATE prompts SET result = '{' WHERE id = 'a'")
    queue = queue_in(folder)
    found = dict(queue.listed(None, -1))
    assert [*found] == ["a", "b"]
    assert "ZI-QUEUE-FILE" in str(found["a"]["status"])
    assert found["b"]["outputs"] == OUTPUTS
    assert "ZI-QUEUE-FILE" in caplog.text
    queue.delete_history_item("a")
    assert [*queue_in(folder).history] == ["b"]


@pytest.mark.parametrize("kind", ["a key", "a ring"])
def test_results_that_are_no_json(folder: Path, kind: str) -> None:
    """The prompt ends, and so does the next one."""
    queue = queue_in(folder)
    odd: dict[Any, Any] = {("a", 1): 2} if kind == "a key" else {}
    if kind == "a ring":
        odd["itself"] = odd
    queue.put((0, "a", GRAPH, EXTRA, ["1"], {}))
    queue.get()
    end(queue, {"1": odd})
    run(queue, "b")
    history = queue_in(folder).history
    assert [*history] == ["a", "b"]
    assert history["a"]["status"] == {"status_str": "success"}


@given(st.integers(0, 6), st.none() | st.integers(0, 8), st.integers(-3, 8))
@settings(max_examples=200, deadline=None)
def test_a_part_of_it(count: int, most: int | None, offset: int) -> None:
    """The same entries as the host's own function gives."""
    ids = [str(number) for number in range(count)]
    history = {id: {"of": id} for id in ids}
    assert history_on_disk.page_of(ids, most, offset) == list(hosts(history, most, offset))


def hosts(history: dict[str, Any], max_items: int | None, offset: int) -> dict[str, Any]:
    """What ``PromptQueue.get_history`` promises: from an offset, or the last ones, at most so many.

    With 0 for the most it gives one.
    """
    if offset < 0 and max_items is not None:
        offset = len(history) - max_items
    found: dict[str, Any] = {}
    for place, (id, entry) in enumerate(history.items()):
        if place >= offset and (max_items is None or len(found) < max(max_items, 1)):
            found[id] = entry
    return found


def test_listed_is_read_one_by_one(folder: Path) -> None:
    """What goes meanwhile is left out."""
    queue = queue_in(folder)
    run(queue, *"abcd")
    listed = queue.listed(3, -1)
    assert next(listed)[0] == "b"
    queue.delete_history_item("c")
    assert [id for id, _ in listed] == ["d"]
    assert isinstance(queue.history, HistoryOnDisk)

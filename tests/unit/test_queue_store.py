"""The store keeps every accepted prompt until its history goes, whatever order things happen in."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.queue import database
from zimage_comfyui.patches.queue.prompt_store import Limits, Store
from zimage_comfyui.tests.fakes.prompts import accept

ITEM = [{"1": {"class_type": "A", "inputs": {}}}, {"client_id": "c"}, ["1"]]
RESULT = {"outputs": {"1": {"images": []}}, "meta": {}, "status": {"status_str": "success"}}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A state folder; its stores are closed at the end."""
    yield tmp_path / "状态 state"
    while OPENED:
        OPENED.pop().close()


OPENED: list[Store] = []


def make(folder: Path, *more: Any) -> Store:
    """A store that the fixture closes."""
    OPENED.append(Store(folder, *more))
    return OPENED[-1]


def reopen(store: Store) -> Store:
    """The store as the next process finds it."""
    store.close()
    return make(store.path.parent, store.limits, store.clock)


def test_waiting_prompts_survive_in_order(folder: Path) -> None:
    """By number, then by acceptance; the item comes back as it was."""
    store = make(folder)
    for id, number in (("b", 1.0), ("a", 1.0), ("front", -2.0)):
        accept(store, id, number, ITEM)
    rows = reopen(store).requeue_unfinished()
    assert sorted((row.number, row.seq, row.id) for row in rows) == [
        (-2.0, 3, "front"), (1.0, 1, "b"), (1.0, 2, "a"),
    ]  # fmt: skip
    assert all(row.item == ITEM and row.crash_count == 0 for row in rows)


def test_a_running_prompt_waits_again_with_one_death_more(folder: Path) -> None:
    """Each recovery counts; giving it back beforehand does not."""
    store = make(folder)
    accept(store, "a", 0, ITEM)
    for crashes in (1, 2):
        store.begin("a")
        store = reopen(store)
        (row,) = store.requeue_unfinished()
        assert row.crash_count == crashes
    store.begin("a")
    store.give_back("a")
    (row,) = reopen(store).requeue_unfinished()
    assert row.crash_count == 2


def test_what_an_earlier_version_ran_has_died_once(folder: Path) -> None:
    """It marked that in the row."""
    store = make(folder)
    accept(store, "a", 0, ITEM)
    store.connection.execute("UPDATE prompts SET state = 'running'")
    for _ in range(2):
        store = reopen(store)
        (row,) = store.requeue_unfinished()
        assert row.crash_count == 1


def old_page(folder: Path, *lines: str) -> Path:
    """The page of an earlier version."""
    page = folder / "queue.running"
    page.write_text("\n".join([*lines, "", ""]), encoding="utf-8")
    return page


@pytest.mark.parametrize("before", [1, 2])
def test_a_page_of_an_earlier_version_says_what_ran(folder: Path, before: int) -> None:
    """It counts once, each death of it, and is deleted; a line may follow that was overwritten."""
    store = make(folder)
    accept(store, "a")
    store.close()
    page = old_page(folder, json.dumps(["a", "unknown"] * before))
    for _ in range(2):
        store = reopen(store)
        (row,) = store.requeue_unfinished()
        assert row.crash_count == before
        assert not page.exists()
    store.close()
    page.write_bytes(b'["a"]\nlonger", "b"]\n')
    (row,) = make(folder).requeue_unfinished()
    assert row.crash_count == before + 1


def test_a_page_of_an_earlier_version_says_what_has_ended(folder: Path) -> None:
    """Those prompts have their results and do not run again; all others wait."""
    store = make(folder)
    for id in "abc":
        accept(store, id)
    store.close()
    result = json.dumps(RESULT)
    page = old_page(
        folder, '["c"]', '["b", 4e9]', result, '["a", 5e9]', result, '["x", 6e9]', result
    )
    store = make(folder)
    assert [(row.id, row.crash_count) for row in store.requeue_unfinished()] == [("c", 1)]
    assert list(store.sizes) == ["b", "a"]
    assert [getattr(store.ended_prompt(id), "result", None) for id in "ab"] == [RESULT, RESULT]
    assert not page.exists()
    before = dict(store.sizes)
    assert dict(reopen(store).sizes) == before


@pytest.mark.parametrize("found", [b"", b"\0" * 4096, b"[1]\n", b"[" * 4000, b'["a', b'{"a": 1}\n'])
def test_a_damaged_page_of_an_earlier_version_is_deleted(folder: Path, found: bytes) -> None:
    """As after a power cut: nothing is known of what ran, and no prompt is lost."""
    store = make(folder)
    accept(store, "a")
    store.close()
    page = folder / "queue.running"
    page.write_bytes(found)
    (row,) = make(folder).requeue_unfinished()
    assert row.crash_count == 0
    assert not page.exists()


def test_prompts_that_are_accepted_together_share_a_sync(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep their order and are all there, or none."""
    store, syncs = make(folder), []
    sync = store.sync
    monkeypatch.setattr(store, "sync", lambda: (syncs.append(1), sync()))
    prompts = [store.reserve(str(number), 0, ITEM) for number in range(300)]
    assert store.accept(prompts) == [*range(1, 301)]
    assert len(syncs) == 1
    rows = reopen(store).requeue_unfinished()
    assert [(row.seq, row.id) for row in rows] == [(n + 1, str(n)) for n in range(300)]


def test_a_sync_that_fails_refuses_all_prompts_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them runs in the next process, and each id can be used again."""
    store = make(folder)

    def fail(_file: int) -> None:
        raise OSError(5, "Input/output error")

    prompts = [store.reserve(id, 0, ITEM) for id in "ab"]
    with monkeypatch.context() as patch:
        patch.setattr(database.os, "fdatasync", fail)
        with pytest.raises(ZImageError, match=r"ZI-QUEUE-FILE.*Input/output"):
            store.accept(prompts)
        assert not store.works()
    assert store.works()
    accept(store, "b")
    assert [row.id for row in reopen(store).requeue_unfinished()] == ["b"]


@pytest.mark.parametrize(("id", "number"), [("a\ud800", 0), ("a", float("nan"))])
def test_a_prompt_that_cannot_be_stored_fails_alone(folder: Path, id: str, number: float) -> None:
    """Before it could be written together with others."""
    store = make(folder)
    with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
        store.reserve(id, number, ITEM)
    assert store.works()
    accept(store, "a")


def test_numbers_that_were_counted_are_integers_again(folder: Path) -> None:
    """A number that the client gave stays a float; ended prompts count for the highest."""
    store = make(folder)
    for id, number in (("a", 7), ("b", -9), ("c", 3.0), ("d", 1e15)):
        accept(store, id, number)
    store.end("b", RESULT)
    store = reopen(store)
    assert store.highest_number == 9
    numbers = [row.number for row in store.requeue_unfinished()]
    assert [(number, type(number)) for number in numbers] == [(7, int), (3.0, float), (1e15, float)]
    row = store.ended_prompt("b")
    assert row is not None
    assert (row.number, type(row.number)) == (-9, int)


def test_results_survive(folder: Path) -> None:
    """An ended prompt has its result and never waits again."""
    store = make(folder)
    accept(store, "a", 0, ITEM)
    store.begin("a")
    store.end("a", RESULT)
    store = reopen(store)
    assert (store.requeue_unfinished(), list(store.sizes)) == ([], ["a"])
    row = store.ended_prompt("a")
    assert row is not None
    assert (row.id, row.number, row.result, row.item) == ("a", 0.0, RESULT, ITEM)


def test_what_is_no_json_is_kept_as_text(folder: Path) -> None:
    """A pack may change a prompt before it is queued."""
    store = make(folder)
    odd = {"inputs": {"of a pack": {1, 2}, ("a", "pair"): 3}}
    accept(store, "a", 0, [{"1": odd}, {"object": Path("x")}, ["1"]])
    (row,) = reopen(store).requeue_unfinished()
    assert row.item == [
        {"1": {"inputs": {"of a pack": "{1, 2}"}}}, {"object": repr(Path("x"))}, ["1"],
    ]  # fmt: skip


def test_an_id_is_taken_until_its_prompt_has_ended(folder: Path) -> None:
    """Then a new prompt may have it, and the old history goes."""
    store = make(folder)
    accept(store, "a", 0, ITEM)
    for state in (store.begin, lambda id: None):
        with pytest.raises(ZImageError, match="ZI-PROMPT-TWICE"):
            accept(store, "a", 5, ITEM)
        state("a")
    store.end("a", RESULT)
    accept(store, "a", 7, ITEM)
    assert store.ended_prompt("a") is None
    (row,) = reopen(store).requeue_unfinished()
    assert (row.number, row.result, list(store.sizes)) == (7.0, None, [])


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (Limits(count=2), ["d", "e"]),
        (Limits(bytes=3 * len(json.dumps(ITEM) + json.dumps(RESULT))), ["c", "d", "e"]),
        (Limits(seconds=1.5), ["d", "e"]),
    ],
    ids=["count", "bytes", "age"],
)
def test_history_has_bounds(folder: Path, limits: Limits, kept: list[str]) -> None:
    """The oldest entries go first; waiting prompts never do."""
    now = [1000.0]
    store = make(folder, limits, lambda: now[0])
    accept(store, "waiting", 0, ITEM)
    for id in "abcde":
        accept(store, id, 1, ITEM)
        store.end(id, RESULT)
        now[0] += 1
    now[0] -= 1
    store = reopen(store)
    assert [row.id for row in store.requeue_unfinished()] == ["waiting"]
    assert list(store.sizes) == kept


def test_another_result_of_what_has_ended(folder: Path) -> None:
    """At its place, with its own size."""
    store = make(folder)
    for id in "ab":
        accept(store, id, 0, ITEM)
        store.end(id, RESULT)
    store.end("a", {"outputs": "x" * 1000})
    row = store.ended_prompt("a")
    assert row is not None
    assert row.result == {"outputs": "x" * 1000}
    sizes, whole = dict(store.sizes), store._bytes
    store = reopen(store)
    assert (list(store.sizes), dict(store.sizes), store._bytes) == (["a", "b"], sizes, whole)


def test_a_clock_that_jumps_back_keeps_the_order(folder: Path) -> None:
    """What ended last is what goes last."""
    now = [1000.0]
    store = make(folder, Limits(count=2), lambda: now[0])
    for id in "abc":
        accept(store, id, 0, ITEM)
        store.end(id, RESULT)
        now[0] -= 400
    assert list(store.sizes) == list(reopen(store).sizes) == ["b", "c"]


def test_one_process_has_the_folder(folder: Path) -> None:
    """A second store is refused until the first closes; a copy of nothing is harmed."""
    store = make(folder)
    accept(store, "a", 0, ITEM)
    with pytest.raises(ZImageError, match="ZI-QUEUE-TAKEN"):
        Store(folder)
    closing = threading.Timer(0.2, store.close)
    closing.start()
    Store(folder, patience=60).close()
    closing.join()
    assert [row.id for row in reopen(store).requeue_unfinished()] == ["a"]


def test_who_has_the_folder_is_named(folder: Path) -> None:
    """By its process, while it has it."""
    store = make(folder)
    with pytest.raises(ZImageError) as caught:
        Store(folder)
    assert caught.value.found == {"path": folder, "found": str(os.getpid())}
    store.close()
    with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
        accept(store, "a", 0, ITEM)
    store.open()
    accept(store, "a", 0, ITEM)


def test_files_of_another_kind_are_refused(folder: Path) -> None:
    """Neither garbage nor the file of a later version is touched."""
    folder.mkdir()
    file = folder / "queue.sqlite"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
        Store(folder)
    assert file.read_bytes() == b"no database" * 1000
    assert not [*folder.glob("queue.sqlite-*")]
    file.unlink()
    other = sqlite3.connect(file)
    other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(ZImageError, match="user_version 99"):
        Store(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root / 挂载需要 root")
def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    """What was accepted is there afterwards, what was refused is not, and it works again."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True, timeout=60
    )
    try:
        store = make(tmp_path / "state")
        ballast = tmp_path / "ballast"
        ballast.write_bytes(bytes(2**19))
        accepted: list[str] = []

        def fill() -> None:
            for number in range(10_000):
                accept(store, str(number), number, [{"1": {"text": "x" * 5000}}, {}, []])
                accepted.append(str(number))

        with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
            fill()
        assert accepted
        with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
            accept(store, "refused", 0, [{"1": {"text": "x" * 5000}}, {}, []])
        store.begin(accepted[0])
        ballast.unlink()
        accept(store, "after", 0, ITEM)
        store = reopen(store)
        rows = store.requeue_unfinished()
        assert [row.id for row in rows] == [*accepted, "after"]
        assert [row.crash_count for row in rows] == [1, *[0] * len(accepted)]
        store.close()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True, timeout=60)


class Machine(RuleBasedStateMachine):
    """Any order of steps and crashes, against a plain dictionary."""

    ids = Bundle("ids")

    @initialize(folder=st.just(None))
    def begin_anew(self, folder: None) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name), Limits(count=3))
        self.model: dict[str, list] = {}  # id → [state, crashes]
        self.ended: list[str] = []

    @rule(target=ids, name=st.sampled_from("abcdef"), number=st.integers(-5, 5))
    def accept(self, name: str, number: int) -> str:
        if self.model.get(name, ["ended"])[0] == "ended":
            accept(self.store, name, number, ITEM)
            self.model[name] = ["waiting", 0]
            if name in self.ended:
                self.ended.remove(name)
        else:
            with pytest.raises(ZImageError):
                accept(self.store, name, number, ITEM)
        return name

    @rule(id=ids)
    def run(self, id: str) -> None:
        if self.model.get(id, [""])[0] == "waiting":
            self.store.begin(id)
            self.model[id][0] = "running"

    @rule(id=ids, size=st.sampled_from([1, 900, 2000, 5000]))
    def end(self, id: str, size: int) -> None:
        if self.model.get(id, [""])[0] == "running":
            self.store.end(id, {"outputs": size * "x"})
            self.model[id] = ["ended", size]
            self.ended.append(id)
            self.forgotten()

    def forgotten(self) -> None:
        for gone in self.ended[:-3]:
            del self.model[gone]
        self.ended = self.ended[-3:]

    @rule(id=ids)
    def look(self, id: str) -> None:
        row, entry = self.store.ended_prompt(id), self.model.get(id, ["-"])
        assert (row is not None) is (entry[0] == "ended")
        assert row is None or row.result == {"outputs": entry[1] * "x"}

    @rule(id=ids, state=st.sampled_from(["waiting", "ended"]))
    def remove(self, id: str, state: str) -> None:
        self.store.remove([id], state)
        if self.model.get(id, [""])[0] == state:
            del self.model[id]
            if id in self.ended:
                self.ended.remove(id)

    @rule()
    def die(self) -> None:
        self.store = reopen(self.store)
        self.rows = self.store.requeue_unfinished()
        for entry in self.model.values():
            if entry[0] == "running":
                entry[:] = ["waiting", entry[1] + 1]
        assert list(self.store.sizes) == self.ended
        waiting = {id: entry for id, entry in self.model.items() if entry[0] == "waiting"}
        assert {row.id: ["waiting", row.crash_count] for row in self.rows} == waiting

    @invariant()
    def counts(self) -> None:
        base = sqlite3.connect(self.store.path)
        states = dict(base.execute("SELECT id, state FROM prompts").fetchall())
        base.close()
        assert states == {id: entry[0] for id, entry in self.model.items()}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=25, stateful_step_count=25)

"""The drill's own bookkeeping: every fault in turn, and no broken promise overlooked."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.drill import run as drill
from zimage_comfyui.drill.faults import FAULTS, Skipped
from zimage_comfyui.drill.faults.disks import cut
from zimage_comfyui.drill.load import Load
from zimage_comfyui.drill.stage import until


def test_there_are_faults_of_every_kind_and_each_says_what_it_expects() -> None:
    """What an operator reads in ``./zimage drill --list``."""
    assert len(FAULTS) >= 60
    for name, fault in FAULTS.items():
        assert fault.__doc__, name


def test_every_fault_is_as_frequent_as_any_other() -> None:
    """In an order that the seed decides."""
    names = list(FAULTS)
    rounds = list(drill.order(names, 3 * len(names) + 5, random.Random(1)))
    assert len(rounds) == 3 * len(names) + 5
    assert set(Counter(rounds).values()) == {3, 4}
    assert rounds == list(drill.order(names, 3 * len(names) + 5, random.Random(1)))
    assert rounds != list(drill.order(names, 3 * len(names) + 5, random.Random(2)))


@pytest.mark.parametrize(
    ("history", "lost"),
    [
        ({"a": ["none", "1"], "b": ["none", "2"]}, []),
        ({"a": ["none", "1"]}, ["b"]),
        ({"a": ["none", "1"], "b": ["none", "1"]}, ["b"]),
        ({}, ["a", "b"]),
    ],
)
def test_a_promise_is_kept_by_its_own_result(history: dict[str, Any], lost: list[str]) -> None:
    """Missing or mixed up is broken."""
    answers = {
        "/queue": {"queue_running": [], "queue_pending": []},
        "/history": {id: {"outputs": {"1": {"text": text}}} for id, text in history.items()},
    }
    load = Load(SimpleNamespace(client=SimpleNamespace(get=answers.__getitem__)))
    load.accepted = {"a": "1", "b": "2"}
    assert load.lost_prompts() == lost


@pytest.mark.parametrize("fault", ["broken", "lost", "doubled", "refused", "bytes", "skipped", ""])
def test_any_broken_invariant_fails_the_drill(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """One is enough."""

    def act(_stage: Any, _dice: random.Random) -> None:
        if fault == "broken":
            raise AssertionError("it broke")
        if fault == "skipped":
            raise Skipped("not here")

    pictures = iter(["x", "y" if fault == "bytes" else "x"])
    monkeypatch.setattr(drill, "FAULTS", {"a fault": act})
    monkeypatch.setattr(drill, "picture", lambda _stage: next(pictures))
    monkeypatch.setattr(drill, "Load", lambda _stage: SimpleNamespace(
        start=lambda: None, join=lambda: None, done=SimpleNamespace(set=lambda: None),
        disconnected=0, accepted={"a": "1"}, refused=["now"] * (fault == "refused"),
        lost_prompts=lambda: ["a"] * (fault == "lost"),
    ))  # fmt: skip
    lines = [f'{{"request_id": "{id}"}}' for id in ("ab" if fault != "doubled" else "aba")]
    stage = SimpleNamespace(
        settle=lambda: None, pids=lambda _: [1], process=SimpleNamespace(poll=lambda: None),
        log={"core.jsonl": lines}.__getitem__,
    )  # fmt: skip
    report = drill.run(stage, ["a fault"], 2, 0, lambda _: None)
    assert report.ok is (fault in {"", "skipped"})
    assert report.skipped == ({"a fault": "not here"} if fault == "skipped" else {})
    assert report.document()["faults"]["a fault"]["rounds"] == 2
    assert [what for _, what in report.broken] == ["AssertionError: it broke"] * 2 * (
        fault == "broken"
    )


def test_what_does_not_come_true_is_a_finding() -> None:
    """With the words for what was waited for."""
    with pytest.raises(TimeoutError, match="a miracle"):
        until(lambda: False, "a miracle", 0.01)


def test_the_last_frame_of_a_log_is_cut(tmp_path: Path) -> None:
    """What was committed last is gone, what was before is there."""
    base = sqlite3.connect(tmp_path / "q.sqlite", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("CREATE TABLE t (x)")
    for number in range(20):
        base.execute("INSERT INTO t VALUES (?)", (number,))
    base.execute("PRAGMA wal_checkpoint")  # the next frames are written over the first ones
    for number in range(20, 23):
        base.execute("INSERT INTO t VALUES (?)", (number,))
    for name in ("q.sqlite", "q.sqlite-wal"):
        (tmp_path / "copy").mkdir(exist_ok=True)
        shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    base.close()
    cut(tmp_path / "copy" / "q.sqlite-wal", random.Random(1))
    left = sqlite3.connect(tmp_path / "copy" / "q.sqlite")
    assert left.execute("SELECT max(x), count(*) FROM t").fetchone() == (21, 22)
    left.close()

"""Node classes that a pack has gained or lost since ComfyUI loaded it."""

from __future__ import annotations

from typing import Any

import pytest

from zimage_comfyui.sandbox.host.class_changes import MAX_NAMED, ClassChanges
from zimage_comfyui.sandbox.host.log_capture import Output
from zimage_comfyui.sandbox.host.pack import Pack
from zimage_comfyui.sandbox.policy.policy import PackRule
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.exceptions import WorkerDied
from zimage_comfyui.tests.fakes.fake_session import FakeSession
from zimage_comfyui.tests.fakes.waiting import wait


def info(*names: str, loaded: bool = True) -> m.PackInfo:
    """A description with node classes of these names."""
    nodes = [m.NodeInfo(name, None, False, None, None, None, {}, False) for name in names]
    return m.PackInfo(loaded, nodes)


def changes(described: Any, digest: str = "new") -> ClassChanges:
    """Of a pack that ComfyUI has loaded with the classes A and B."""

    def describe(_process: Any) -> m.PackInfo:
        if isinstance(described, Exception):
            raise described
        return described

    return ClassChanges("some", info("A", "B"), lambda: digest, "old", describe)


@pytest.mark.parametrize(
    ("described", "entries"),
    [
        (info("A", "B"), []),
        (info("A", "B", "C"), ["packs.some.nodes.C"]),
        (info("B"), ["packs.some.nodes.A"]),
        (info("A", "D"), ["packs.some.nodes.B", "packs.some.nodes.D"]),
        (info(loaded=False), []),
        (WorkerDied("SIGSEGV"), []),
    ],
)
def test_added_and_removed_classes_need_a_restart(described: Any, entries: list[str]) -> None:
    """Of a process whose pack is loaded; one that fails is told by its calls."""
    some = changes(described)
    some.compare(FakeSession())  # type: ignore[arg-type]
    assert some.waiting() == entries


def test_a_pack_whose_files_are_the_same_is_not_asked() -> None:
    """What was found before is over when the files are as they were."""
    some = changes(AssertionError("asked"), "old")
    some.nodes = ["C"]
    some.compare(FakeSession())  # type: ignore[arg-type]
    assert some.waiting() == []


def test_many_names_and_long_ones_are_cut() -> None:
    """A pack can say anything."""
    names = [f"{number:03}\x1b[2J\n" + "x" * 10**5 for number in range(100)]
    some = changes(info("A", "B", *names))
    some.compare(FakeSession())  # type: ignore[arg-type]
    entries = some.waiting()
    assert len(entries) == MAX_NAMED + 1
    assert entries[-1] == "packs.some.nodes.…"
    assert len("".join(entries)) < 10_000
    assert not any("\x1b" in entry or "\n" in entry for entry in entries)


def test_every_later_process_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the panel's restart, or of the next call after an end."""
    monkeypatch.setattr(Pack, "_describe", lambda *_, **__: info("A", "C"))
    made = [FakeSession(), FakeSession()]
    start: Any = lambda _pack: made.pop(0)  # noqa: E731
    some = Pack("some", PackRule(), start, Output("some"))
    some.ready()
    some.loaded(info("A"), lambda: "new", "old")
    assert some.changes is not None
    assert some.changes.waiting() == []
    some.stop()
    some.ready()
    wait(lambda: some.changes and some.changes.waiting() == ["packs.some.nodes.C"])

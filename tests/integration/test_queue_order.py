"""The durable queue over the host's own class, in any order of steps, stops and crashes."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.queue.durable_queue import MAX_CRASHES, durable
from zimage_comfyui.patches.queue.prompt_store import Store

IDS = st.sampled_from("abcdef")


def process(folder: Path) -> tuple[Any, Any]:
    """The server and queue of a new one."""
    server = SimpleNamespace(number=0, queue_updated=lambda: None)
    return server, durable(sys.modules["execution"].PromptQueue(server), Store(folder))


def numbered(server: Any, asked: float | None, front: bool) -> float:
    """As the host's handler counts."""
    if asked is not None:
        return asked
    server.number += 1
    return 1 - server.number if front else server.number - 1


class Prompt:
    """One that was accepted, as the model has it."""

    def __init__(self, id: str, number: float, counted: bool, place: int) -> None:
        self.id, self.number, self.counted, self.place = id, number, counted, place
        self.crashes = 0

    @property
    def order(self) -> tuple[float, int]:
        """By number, then by acceptance."""
        return self.number, self.place


class Machine(RuleBasedStateMachine):
    """Against three plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.waiting: list[Prompt] = []
        self.running: dict[int, Prompt] = {}
        self.ended: list[str] = []
        self.accepted = self.submitted = 0
        self.start()

    def start(self) -> None:
        """A process begins."""
        self.server, self.queue = process(Path(self.folder.name))

    @rule(id=IDS, asked=st.none() | st.sampled_from([-2.0, 0.0, 1.5, 1e15]), front=st.booleans())
    def submit(self, id: str, asked: float | None, front: bool) -> None:
        """As the host's handler counts."""
        number = numbered(self.server, asked, front)
        counted = [one.number for one in self.waiting if one.counted]
        if asked is None and counted:
            assert number < min(counted) if front else number > max(counted)
        self.submitted += 1
        assert asked is not None or abs(number) < self.submitted
        item = (number, id, {"1": {"class_type": id}}, {"client_id": "c"}, ["1"], {})
        if id in [one.id for one in (*self.waiting, *self.running.values())]:
            with pytest.raises(ZImageError, match="ZI-PROMPT-TWICE"):
                self.queue.put(item)
            return
        self.queue.put(item)
        self.accepted += 1
        self.waiting.append(Prompt(id, number, asked is None, self.accepted))
        self.forget(id)

    def forget(self, id: str) -> None:
        """No history of it."""
        self.ended = [one for one in self.ended if one != id]

    @rule()
    def take(self) -> None:
        """The worker asks for the next prompt."""
        taken = self.queue.get(timeout=0)
        if not self.waiting:
            assert taken is None
            return
        first = min(self.waiting, key=lambda one: one.order)
        item, number = taken
        assert item[:5] == (
            first.number, first.id, {"1": {"class_type": first.id}}, {"client_id": "c"}, ["1"],
        )  # fmt: skip
        self.waiting.remove(first)
        self.running[number] = first

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: Any) -> None:
        """What runs has ended, and its client is told."""
        number = data.draw(st.sampled_from(sorted(self.running)))
        status = self.queue.ExecutionStatus("success", True, [])
        self.queue.task_done(number, {"outputs": {"1": number}, "meta": {}}, status)
        self.queue.get_flags()
        self.ended.append(self.running.pop(number).id)

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        """What waits; what runs stays."""
        found = self.queue.delete_queue_item(lambda item: item[1] == id)
        assert found is (id in [one.id for one in self.waiting])
        self.waiting = [one for one in self.waiting if one.id != id]

    @rule()
    def clear(self) -> None:
        """All that waits."""
        self.queue.wipe_queue()
        self.waiting = []

    @rule(id=IDS)
    def delete_history(self, id: str) -> None:
        """One entry."""
        self.queue.delete_history_item(id)
        self.forget(id)

    @rule()
    def clear_history(self) -> None:
        """All entries."""
        self.queue.wipe_history()
        self.ended = []

    @rule()
    def stop(self) -> None:
        """In order: no death of what runs."""
        self.queue.give_back()
        self.again(crashes=0)

    @rule()
    def die(self) -> None:
        """Without a word."""
        self.again(crashes=1)

    def again(self, crashes: int) -> None:
        """The next process has everything; what died too often has ended."""
        self.queue.store.close()
        self.start()
        for one in self.running.values():
            one.crashes += crashes
        left = sorted([*self.waiting, *self.running.values()], key=lambda one: one.place)
        self.running = {}
        self.waiting = [one for one in left if one.crashes < MAX_CRASHES]
        self.ended += [one.id for one in left if one.crashes >= MAX_CRASHES]

    @invariant()
    def same(self) -> None:
        """As clients see it."""
        running, waiting = self.queue.get_current_queue()
        order = [one.id for one in sorted(self.waiting, key=lambda one: one.order)]
        assert [item[1] for item in sorted(waiting)] == order
        assert [item[1] for item in running] == [one.id for one in self.running.values()]
        assert [*self.queue.get_history()] == [*self.queue.history] == self.ended

    def teardown(self) -> None:
        """The folder goes."""
        self.queue.store.close()
        self.folder.cleanup()


def test_any_order_of_steps_and_crashes(comfy_modules: Path) -> None:
    """Nothing is lost, doubled or out of order."""
    import execution  # noqa: F401 - the host's, for the machine

    limits = settings(max_examples=60, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(Machine, settings=limits)


def test_numbers_go_on_after_a_restart(comfy_modules: Path, tmp_path: Path) -> None:
    """Behind what was counted and in front of it, whatever a client has asked for."""
    import execution  # noqa: F401

    server, queue = process(tmp_path)

    def submit(id: str, asked: float | None = None, front: bool = False) -> None:
        queue.put((numbered(server, asked, front), id, {}, {}, [], {}))

    submit("first")
    submit("in front", front=True)
    submit("late", asked=1e15)
    submit("further in front", front=True)
    queue.delete_queue_item(lambda item: item[1] == "first")
    queue.store.close()
    server, queue = process(tmp_path)
    submit("new")
    submit("between", asked=-1.5)
    submit("foremost", front=True)
    order = ["foremost", "further in front", "between", "in front", "new", "late"]
    assert [item[1] for item in sorted(queue.queue)] == order
    queue.store.close()

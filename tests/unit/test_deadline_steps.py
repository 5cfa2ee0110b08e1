"""Deadlines that go by a device's own steps: any card may be slow, and no step may hang."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.engine import presets
from zimage_comfyui.patches.base import guardian
from zimage_comfyui.patches.queue import deadline
from zimage_comfyui.patches.queue.deadline import Deadline
from zimage_comfyui.patches.queue.sampler_steps import Steps, reaction_time

AUTO = frozenset({"turbo.cuda", "edit.cuda"})
NEVER = 10.0**9


class Sampler:
    """A sampler on a clock of its own: the event that a watch waits for.

    Args:
        ends: seconds at which each step ends.
        total: steps of one run.
        returns: when the node returns by itself.
        reacts: whether it returns at the end of the step in which it is interrupted.
    """

    def __init__(
        self, ends: list[float], total: int = 8, returns: float = NEVER, reacts: bool = True
    ) -> None:
        self.ends = ends
        self.total = total
        self.returns = returns
        self.reacts = reacts
        self.now = 0.0
        self.steps: Steps | None = None
        self.interrupted_at: float | None = None
        self.killed_at: float | None = None
        self._count = 0
        self._returned = False

    def clock(self) -> float:
        return self.now

    def is_set(self) -> bool:
        return self._returned

    def wait(self, seconds: float) -> bool:
        until = self.now + seconds
        while not self._returned:
            following = self.ends[self._count] if self._count < len(self.ends) else NEVER
            if min(following, self.returns) > until:
                break
            self.now = min(following, self.returns)
            if self.returns <= following:
                self._returned = True
            else:
                self._end_step()
        if not self._returned:
            self.now = until
        return self._returned

    def _end_step(self) -> None:
        if self.interrupted_at is not None and self.reacts:
            self._returned = True  # the host raises in its callback
            return
        assert self.steps is not None
        self.steps.step_done(self._count % self.total, self.total)
        self._count += 1

    def interrupt(self) -> None:
        self.interrupted_at = self.now

    def kill(self, _reason: str) -> bool:
        self.killed_at = self.now
        return True


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a sampler under a watch and return it, with the code that its prompt ends with."""

    def run(
        sampler: Sampler,
        variant: str = "turbo",
        side: int = 1024,
        limits: Mapping[str, float] | None = None,
        runs: int = 1,
    ) -> str:
        queue = SimpleNamespace()
        server = SimpleNamespace(prompt_queue=queue, client_id=None)
        part = Deadline(server, tmp_path / "fuse.jsonl", limits or {}, AUTO, sampler.clock)
        host = SimpleNamespace(interrupt_processing=sampler.interrupt)
        monkeypatch.setitem(sys.modules, "nodes", host)
        monkeypatch.setattr(guardian, "ask_to_be_killed", sampler.kill)
        monkeypatch.setattr(deadline, "sleep", lambda _seconds: None)
        monkeypatch.setattr(deadline, "fail_running", lambda _queue, _error: None)
        limit = part.judge(inputs(variant, side, runs))
        assert limit is not None
        sampler.steps = Steps(limit.allowed, limit.runs, sampler.clock)
        part._watch("p1", limit, sampler.steps, sampler)
        return part.error.code if part.error else ""

    return run


def inputs(variant: str, side: int = 1024, runs: int = 1) -> dict[str, list[Any]]:
    """What the host gives a sampler: a list for each input."""
    model = SimpleNamespace(
        model_options={presets.OPTION: variant}, load_device=SimpleNamespace(type="cuda")
    )
    shape = SimpleNamespace(shape=(1, 16, side // 8, side // 8))
    return {"model": [model], "latent_image": [{"samples": shape}], "seed": list(range(runs))}


def every(seconds: float, count: int = 8, start: float = 0.0) -> list[float]:
    """When steps end that all take as long."""
    return [start + seconds * number for number in range(1, count + 1)]


@pytest.mark.parametrize("seconds", [0.4, 4, 21, 95])
def test_a_card_of_any_speed_finishes(run, seconds: float) -> None:
    """Eight steps of 95 s are as proper as eight of 0.4 s, on Turbo and on Edit."""
    for variant in ("turbo", "edit"):
        sampler = Sampler(every(seconds), returns=9 * seconds)
        assert run(sampler, variant) == ""
        assert sampler.is_set()


def test_loading_does_not_count(run) -> None:
    """The host loads the model before the first step: 300 s from a slow disk, then quick steps."""
    assert run(Sampler(every(1, start=300), returns=309)) == ""


def test_a_callback_that_comes_early_measures_nothing(run) -> None:
    """CUDA calls back when the first step is submitted, 95 s before it is computed."""
    assert run(Sampler([0.1, *every(95, 7)], returns=9 * 95)) == ""


@pytest.mark.parametrize(
    ("seconds", "ended"), [(1, 3 + 60), (5, 15 + 60), (20, 60 + 200), (95, 285 + 950)]
)
def test_a_step_that_hangs_is_ended(run, seconds: float, ended: float) -> None:
    """After ten times the last step, 60 s at least; the process follows when nothing reacts."""
    sampler = Sampler(every(seconds, 3))
    assert run(sampler) == "ZI-DEADLINE-STALLED"
    assert sampler.interrupted_at == pytest.approx(ended)
    assert sampler.killed_at == pytest.approx(ended + 10)


def test_a_hang_before_the_first_step_is_ended(run) -> None:
    """After ten minutes for each megapixel, which includes loading the model."""
    for side, allowed in ((512, 600), (1024, 600), (2048, 2400)):
        sampler = Sampler([])
        assert run(sampler, side=side) == "ZI-DEADLINE-STALLED"
        assert (sampler.interrupted_at, sampler.killed_at) == (allowed, allowed + 10)


def test_a_hang_after_the_last_step_is_ended(run) -> None:
    """A GPU may still compute when the host has called back for the last time."""
    sampler = Sampler(every(2))
    assert run(sampler) == "ZI-DEADLINE-STALLED"
    assert sampler.interrupted_at == 16 + 60


def test_a_run_that_becomes_much_slower_is_interrupted(run) -> None:
    """Twenty times the median step for each step; its process has done nothing wrong."""
    sampler = Sampler([*every(1, 60), *every(59, 40, start=60)], total=100)
    assert run(sampler) == "ZI-DEADLINE-SLOW"
    assert sampler.interrupted_at == pytest.approx(1 + 20 * 1 * 100)
    assert sampler.killed_at is None


def test_each_run_of_a_list_has_a_first_step(run) -> None:
    """The host runs a node once for each value of a list, and sizes may differ."""
    again = every(2, 8, start=16 + 400)
    assert run(Sampler([*every(2), *again], returns=440), runs=2) == ""
    sampler = Sampler([*every(2), *again])
    assert run(sampler, runs=2) == "ZI-DEADLINE-STALLED"
    assert sampler.interrupted_at == again[-1] + 60


@pytest.mark.parametrize(("side", "allowed"), [(512, 8), (1024, 8), (2048, 32)])
def test_a_number_is_honoured(run, side: int, allowed: float) -> None:
    """The published 8 s for each megapixel end a sampler that still has steps to do."""
    sampler = Sampler(every(5))
    assert run(sampler, side=side, limits={"turbo.cuda": 8.0}) == "ZI-DEADLINE"
    assert sampler.interrupted_at == allowed
    assert sampler.killed_at is None


def test_a_slow_step_does_not_cost_the_process(run) -> None:
    """A sampler notices an interrupt at the end of a step: 30 s later, it ends by itself."""
    sampler = Sampler(every(30))
    assert run(sampler, limits={"turbo.cuda": 31.0}) == "ZI-DEADLINE"
    assert sampler.is_set()
    assert (sampler.now, sampler.killed_at) == (60, None)


@pytest.mark.parametrize(
    ("grace", "killed"), [({}, 60), ({"grace": 2.0}, 10), ({"grace": 100.0}, 108)]
)
def test_grace_that_is_set_is_honoured(run, grace: dict[str, float], killed: float) -> None:
    """Without it, a process with a number has 60 s without a step."""
    sampler = Sampler([])
    assert run(sampler, limits={"turbo.cuda": 8.0, **grace}) == "ZI-DEADLINE"
    assert (sampler.interrupted_at, sampler.killed_at) == (8, killed)


def test_a_sampler_that_ignores_the_interrupt_is_ended(run) -> None:
    """Its steps go on, and the process is ended all the same."""
    sampler = Sampler(every(1, 500), total=500, reacts=False)
    run(sampler, limits={"turbo.cuda": 8.0})
    assert sampler.killed_at == 68


def test_0_sets_no_limit() -> None:
    """Neither a number nor the steps count then."""
    part = Deadline(SimpleNamespace(), Path(), {"turbo.cuda": 0.0}, AUTO)
    assert part.judge(inputs("turbo")) is None
    assert part.judge(inputs("base")) is None


def test_the_hosts_callback_counts_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the sampler that runs, limited or not, for an interrupt; of nothing afterwards."""
    now, called, reactions = [0.0], [], []

    def prepare_callback(model, steps, x0_output_dict=None):
        return lambda step, x0, x, total_steps: called.append((step, total_steps))

    class KSampler:
        pass

    async def nodes(prompt_id, unique_id, obj, input_data_all, func):
        callback = sys.modules["latent_preview"].prepare_callback(None, 2)
        for step in range(2):
            now[0] += 20
            callback(step, None, None, 2)
        reactions.append(reaction_time())

    executor = type("PromptExecutor", (), {"execute": execute})
    execution = SimpleNamespace(PromptExecutor=executor, _async_map_node_over_list=nodes)
    preview = SimpleNamespace(prepare_callback=prepare_callback)
    monkeypatch.setitem(sys.modules, "execution", execution)
    monkeypatch.setitem(sys.modules, "latent_preview", preview)
    part = Deadline(SimpleNamespace(), tmp_path / "log", {}, AUTO, lambda: now[0])
    part.apply()
    for variant in ("turbo", "base"):
        asyncio.run(
            execution._async_map_node_over_list("p", "3", KSampler(), inputs(variant), "sample")
        )
    assert reactions == [40, 40]
    assert reaction_time() == 0
    assert preview.prepare_callback.__wrapped__ is prepare_callback
    preview.prepare_callback(None, 1)(0, None, None, 1)
    assert called == [*2 * [(0, 2), (1, 2)], (0, 1)]
    part.revert()
    assert preview.prepare_callback is prepare_callback


def execute(self, prompt, prompt_id, extra_data=None, execute_outputs=None):
    """The host's parameters."""

"""Sampling that takes too long is interrupted, then its process is given up."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.cli import serve
from zimage_comfyui.config import Settings
from zimage_comfyui.engine import presets
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import guardian
from zimage_comfyui.patches.queue import deadline
from zimage_comfyui.patches.queue.deadline import Deadline

LIMITS = {"turbo.cuda": 8.0, "edit.cuda": 60.0, "base.cpu": 100.0}


def inputs(
    variant: str | None = "turbo", device: str = "cuda", side: int = 1024, batch: int = 1
) -> dict[str, list[Any]]:
    """What the host gives a sampler: a list for each input."""
    options = {} if variant is None else {presets.OPTION: variant}
    model = SimpleNamespace(model_options=options, load_device=SimpleNamespace(type=device))
    shape = SimpleNamespace(shape=(batch, 16, side // 8, side // 8))
    return {"model": [model], "latent_image": [{"samples": shape}], "cfg": [1.0], "seed": [0]}


class KSampler:
    """A sampler's name is what counts."""


def prepare_callback(model, steps, x0_output_dict=None):
    """The host's, as far as it matters."""
    return lambda step, x0, x, total_steps: None


class PromptExecutor:
    """The host's, as far as it matters."""

    def __init__(self) -> None:
        self.success, self.status_messages = True, []
        self.inputs = inputs()

    def execute(self, prompt, prompt_id, extra_data=None, execute_outputs=None):
        try:
            work = sys.modules["execution"]._async_map_node_over_list
            asyncio.run(work(prompt_id, "3", KSampler(), self.inputs, "sample"))
        except InterruptedError:
            self.success = False
            self.status_messages.append(("execution_interrupted", {"prompt_id": prompt_id}))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The host's modules, a sampler that works until it is told, a deadline over both."""
    here = SimpleNamespace(end=threading.Event(), stop=threading.Event(), sent=[])

    async def run(prompt_id, unique_id, obj, input_data_all, func):
        here.end.wait(60)
        if here.stop.is_set():
            raise InterruptedError

    def interrupt() -> None:
        here.stop.set()
        if here.reacts:
            here.end.set()

    execution = SimpleNamespace(PromptExecutor=PromptExecutor, _async_map_node_over_list=run)
    monkeypatch.setitem(sys.modules, "execution", execution)
    monkeypatch.setitem(sys.modules, "nodes", SimpleNamespace(interrupt_processing=interrupt))
    preview = SimpleNamespace(prepare_callback=prepare_callback)
    monkeypatch.setitem(sys.modules, "latent_preview", preview)
    here.reacts = True
    queue = SimpleNamespace(mutex=threading.RLock(), currently_running={}, done=[])
    queue.task_done = lambda number, result, status, *_: queue.done.append(status)
    queue.server = here.server = SimpleNamespace(
        client_id="c", send_sync=lambda *event: here.sent.append(event), prompt_queue=queue
    )
    here.queue, here.log = queue, tmp_path / "fuse.jsonl"
    here.make = lambda limits: Deadline(here.server, here.log, {"grace": 0.01} | limits)
    return here


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (inputs(), 8.0), (inputs(side=512), 8.0), (inputs(side=2048), 32.0),
        (inputs(batch=3), 24.0), (inputs("edit"), 60.0), (inputs("base", "cpu"), 100.0),
        ({**inputs(side=2048), "seed": [1, 2, 3]}, 96.0),
        (inputs(device="cpu"), None), (inputs("base"), None), (inputs(None), None), ({}, None),
        ({**inputs(), "latent_image": []}, None), ({**inputs(), "latent_image": [{}]}, None),
    ],
)  # fmt: skip
def test_time_is_for_each_megapixel_by_variant_and_device(
    world, given: Any, allowed: float | None
) -> None:
    """A small picture has as much as one of a megapixel; what no setting names has no limit.

    The loader has written the variant on the model: another cfg makes no other of it. A node that
    the host runs once for each value of a list has time for all.
    """
    limit = world.make(LIMITS).judge(given)
    assert (limit and limit.allowed) == allowed


def test_each_sampler_has_time_of_its_own(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is counted against the next one, and what has no limit is not watched."""
    allowed: list[float] = []
    part = world.make(LIMITS)
    monkeypatch.setattr(part, "_watch", lambda _id, limit, *_: allowed.append(limit.allowed))
    part.apply()
    nodes = sys.modules["execution"]._async_map_node_over_list
    world.end.set()
    for given in (inputs(), inputs(), inputs("base"), inputs("edit"), {}):
        asyncio.run(nodes("p1", "3", KSampler(), given, "sample"))
    asyncio.run(nodes("p1", "4", object(), inputs(), "other"))
    part.revert()
    assert allowed == [8.0, 8.0, 60.0]


def test_a_sampler_that_reacts_fails_with_the_code(world) -> None:
    """The reason is in the history and is told to the client; the next prompt has its own time."""
    part = world.make({"turbo.cuda": 0.01})
    part.apply()
    executor = PromptExecutor()
    executor.execute({}, "p1")
    event, data = executor.status_messages[-1]
    assert event == "execution_error"
    assert data["exception_message"].startswith("[ZI-DEADLINE]")
    assert world.sent == [(event, data, "c")]
    line = json.loads(world.log.read_text(encoding="utf-8"))
    assert (line["request_id"], line["action"]) == ("p1", "interrupted")
    world.end.set()
    world.stop.clear()
    other = PromptExecutor()
    other.inputs = {}
    other.execute({}, "p2")
    assert other.success
    assert other.status_messages == []
    part.revert()


def test_a_prompt_of_nobody_is_told_to_no_page(world) -> None:
    """The host would send it to all."""
    world.server.client_id = None
    world.make({"turbo.cuda": 0.01}).apply()
    executor = PromptExecutor()
    executor.execute({}, "p1")
    assert executor.status_messages[-1][0] == "execution_error"
    assert world.sent == []


def test_one_that_does_not_react_is_given_up(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prompt has failed at once, the guardian is asked to replace the process, and until then
    no other prompt begins."""
    asked: list[str] = []
    goes_on: list[bool] = []

    def kill(reason: str) -> bool:
        asked.append(reason)
        world.end.set()  # it returns at the last moment
        return True

    def moment(_seconds: float) -> None:
        worker.join(0.5)
        goes_on.append(not worker.is_alive())

    monkeypatch.setattr(guardian, "ask_to_be_killed", kill)
    monkeypatch.setattr(deadline, "sleep", moment)
    world.reacts = False
    world.queue.currently_running[7] = (0, "p1", {}, {}, [])
    part = world.make({"turbo.cuda": 0.01})
    part.apply()
    worker = threading.Thread(target=PromptExecutor().execute, args=({}, "p1"))
    worker.start()
    worker.join()
    assert asked == ["任务 p1 没有结束 / p1 does not end"]
    assert goes_on == [False]
    (status,) = world.queue.done
    assert "[ZI-DEADLINE]" in status.messages[-1][1]["exception_message"]
    part.revert()


def test_one_that_is_quick_is_left_alone(world) -> None:
    """Nothing is interrupted after its end either."""
    world.end.set()
    part = world.make({"turbo.cuda": 30.0})
    part.apply()
    part.apply()
    executor = PromptExecutor()
    executor.execute({}, "p1")
    assert executor.success
    assert not world.stop.is_set()
    part.revert()
    assert not part.active
    part.revert()


def test_a_changed_seam_is_refused(world) -> None:
    """Nothing is patched then."""
    sys.modules["execution"]._async_map_node_over_list = lambda other: None
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        world.make(LIMITS).apply()
    assert not world.make(LIMITS).active


def test_settings() -> None:
    """Names, devices and numbers; what is none of these sets nothing."""
    text = "turbo.cuda=8, base.cpu = 900.5,edit.cuda=5,turbo.cpu=x,omni.cpu=1,grace=2"
    found = Settings.from_environment({"ZIMAGE_DEADLINES": text}).deadlines
    assert found == {"turbo.cuda": 8.0, "base.cpu": 900.5, "edit.cuda": 5.0, "grace": 2.0}
    assert Settings.from_environment({}).deadlines == {}


def test_settings_by_the_steps_of_the_device() -> None:
    """``auto`` stands for no number, and ``grace`` has to be one."""
    text = "turbo.cuda = auto,edit.cuda=automatic,base.cpu=900,grace=auto,omni.cpu=auto"
    settings = Settings.from_environment({"ZIMAGE_DEADLINES": text})
    assert settings.auto_deadlines == {"turbo.cuda"}
    assert settings.deadlines == {"base.cpu": 900.0}
    assert Settings.from_environment({}).auto_deadlines == frozenset()


def test_serve_sets_no_number() -> None:
    """No figure fits all cards, so ``serve`` goes by their steps; a person's own setting wins."""
    assert serve._operated({})["ZIMAGE_DEADLINES"] == "turbo.cuda=auto"
    given = {"ZIMAGE_DEADLINES": "turbo.cuda=8"}
    assert serve._operated(given)["ZIMAGE_DEADLINES"] == "turbo.cuda=8"

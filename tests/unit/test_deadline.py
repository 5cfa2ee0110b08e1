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

from zimage_comfyui.config import Settings
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches import deadline, link
from zimage_comfyui.patches.deadline import Deadline

LIMITS = {"turbo.cuda": 8.0, "base.cpu": 100.0}


def graph(cfg: float = 1.0, side: int = 1024, batch: int = 1) -> dict[str, Any]:
    """One picture of this pack's models."""
    return {
        "1": {"class_type": "ZImageLoader", "inputs": {
            "model_name": "m", "text_encoder": "t", "vae": "v"}},
        "2": {"class_type": "EmptyLatentImage", "inputs": {
            "width": side, "height": side, "batch_size": batch}},
        "3": {"class_type": "KSampler", "inputs": {
            "model": ["1", 0], "latent_image": ["2", 0], "cfg": cfg}},
    }  # fmt: skip


class KSampler:
    """A sampler's name is what counts."""


class PromptExecutor:
    """The host's, as far as it matters."""

    def __init__(self) -> None:
        self.success, self.status_messages = True, []

    def execute(self, prompt, prompt_id, extra_data=None, execute_outputs=None):
        try:
            work = sys.modules["execution"]._async_map_node_over_list
            asyncio.run(work(prompt_id, "3", KSampler(), {}, "sample"))
        except InterruptedError:
            self.success = False
            self.status_messages.append(("execution_interrupted", {"prompt_id": prompt_id}))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The host's modules, a sampler that works until it is told, a deadline over both."""
    here = SimpleNamespace(end=threading.Event(), stop=threading.Event(), cpu=False, sent=[])

    async def run(prompt_id, unique_id, obj, input_data_all, func):
        here.end.wait(60)
        if here.stop.is_set():
            raise InterruptedError

    def interrupt() -> None:
        here.stop.set()
        if here.reacts:
            here.end.set()

    execution = SimpleNamespace(PromptExecutor=PromptExecutor, _async_map_node_over_list=run)
    management = SimpleNamespace(cpu_state=SimpleNamespace(name="GPU"))
    monkeypatch.setitem(sys.modules, "execution", execution)
    monkeypatch.setitem(sys.modules, "nodes", SimpleNamespace(interrupt_processing=interrupt))
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    monkeypatch.setattr(deadline, "GRACE", 0.01)
    here.reacts, here.management = True, management
    queue = SimpleNamespace(mutex=threading.RLock(), currently_running={}, done=[])
    queue.task_done = lambda number, result, status, *_: queue.done.append(status)
    queue.server = here.server = SimpleNamespace(
        client_id="c", send_sync=lambda *event: here.sent.append(event), prompt_queue=queue
    )
    here.queue, here.log = queue, tmp_path / "fuse.jsonl"
    here.make = lambda limits: Deadline(here.server, here.log, limits)
    return here


@pytest.mark.parametrize(
    ("prompt", "device", "allowed"),
    [
        (graph(), "GPU", 8.0), (graph(side=512), "GPU", 8.0), (graph(side=2048), "GPU", 32.0),
        (graph(batch=3), "GPU", 24.0), (graph(cfg=5.0), "CPU", 100.0),
        (graph(), "CPU", None), (graph(cfg=5.0), "GPU", None), ({}, "GPU", None),
    ],
)  # fmt: skip
def test_time_is_for_each_megapixel_by_variant_and_device(
    world, prompt: Any, device: str, allowed: float | None
) -> None:
    """A small picture has as much as one of a megapixel; what no setting names has no limit."""
    world.management.cpu_state.name = device
    error = world.make(LIMITS).judge(prompt)
    assert (error and error.found["allowed"]) == allowed


def test_a_sampler_that_reacts_fails_with_the_code(world) -> None:
    """The reason is in the history and is told to the client; the next prompt has its own time."""
    part = world.make({"turbo.cuda": 0.01})
    part.apply()
    executor = PromptExecutor()
    executor.execute(graph(), "p1")
    event, data = executor.status_messages[-1]
    assert event == "execution_error"
    assert data["exception_message"].startswith("[ZI-DEADLINE]")
    assert world.sent == [(event, data, "c")]
    line = json.loads(world.log.read_text(encoding="utf-8"))
    assert (line["request_id"], line["action"]) == ("p1", "interrupted")
    world.end.set()
    world.stop.clear()
    other = PromptExecutor()
    other.execute({}, "p2")
    assert other.success
    assert other.status_messages == []
    part.revert()


def test_one_that_does_not_react_is_given_up(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prompt has failed at once, and the guardian is asked to replace the process."""
    asked: list[str] = []

    def kill(reason: str) -> bool:
        asked.append(reason)
        world.end.set()
        return True

    monkeypatch.setattr(link, "ask_to_be_killed", kill)
    world.reacts = False
    world.queue.currently_running[7] = (0, "p1", {}, {}, [])
    part = world.make({"turbo.cuda": 0.01})
    part.apply()
    PromptExecutor().execute(graph(), "p1")
    assert asked == ["p1 does not end"]
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
    executor.execute(graph(), "p1")
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
    text = "turbo.cuda=8, base.cpu = 900.5,edit.cuda=5,turbo.cpu=x"
    found = Settings.from_environment({"ZIMAGE_DEADLINES": text}).deadlines
    assert found == {"turbo.cuda": 8.0, "base.cpu": 900.5}
    assert Settings.from_environment({}).deadlines == {}

"""Deadlines in a real ComfyUI: of each sampler by itself, by what its loader says of the model."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.cli.server import Server
from zimage_comfyui.patches.base.hooks import Patch
from zimage_comfyui.patches.queue.sampler_steps import CALLBACK, Steps, counted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template(pack_dir: Path) -> dict[str, Any]:
    """Turbo makes a picture (node 4) that an Edit model changes (node 9), which takes longer."""
    path = pack_dir / "workflows" / "api" / "商品换背景.json"
    return json.loads(path.read_text(encoding="utf-8"))


def run(server: Server, graph: dict[str, Any], seed: int) -> tuple[str, str]:
    """The node at which a graph failed, and why; empty when it did not."""
    graph = copy.deepcopy(graph)
    for node in graph.values():
        if "seed" in node["inputs"]:
            node["inputs"]["seed"] = seed
    done = server.client.run(graph)
    messages = dict(done.history["status"]["messages"])
    cut = messages.get("execution_interrupted", {})
    return cut.get("node_id", ""), done.error["exception_message"] if done.error else ""


def test_of_turbo(start_server, template) -> None:
    """Neither Base without guidance nor what an Edit model does in the same prompt is Turbo."""
    server = start_server(env={**os.environ, "ZIMAGE_DEADLINES": "turbo.cpu=0.001"})
    node, why = run(server, template, 1)
    assert node == "4"
    assert "turbo on cpu may take 0.001 s" in why
    base = copy.deepcopy(template)
    base["1"]["inputs"]["model_name"] = "zimage-small-base.safetensors"
    base["4"]["inputs"] |= {"cfg": 1.0, "steps": 50}
    assert run(server, base, 2) == ("", "")


def test_by_steps(start_server, template) -> None:
    """A picture on a device whose own steps set the time is made, and so is its change."""
    limits = "turbo.cpu=auto,edit.cpu=auto"
    server = start_server(env={**os.environ, "ZIMAGE_DEADLINES": limits})
    assert run(server, template, 4) == ("", "")
    assert server.client.get("/health")["patches"]["deadline"]["status"] == "active"


def test_the_hosts_callback(comfy_modules) -> None:
    """Each call of the host's own step callback is the end of a step."""
    import latent_preview

    original = latent_preview.prepare_callback
    model = SimpleNamespace(load_device=None, model=SimpleNamespace(latent_format=None))
    patch = Patch(CALLBACK, counted)
    steps = Steps()
    patch.apply()
    try:
        with steps.observed():
            callback = latent_preview.prepare_callback(model, 3)
        for index in range(2):
            callback(index, None, None, 3)
    finally:
        patch.revert()
    assert (steps.done, steps.total) == (2, 3)
    assert latent_preview.prepare_callback is original


def test_of_edit(start_server, template) -> None:
    """The Turbo sampler before it is not charged."""
    server = start_server(env={**os.environ, "ZIMAGE_DEADLINES": "edit.cpu=0.001"})
    node, why = run(server, template, 3)
    assert node == "9"
    assert "[ZI-DEADLINE]" in why
    assert "edit on cpu may take 0.001 s" in why

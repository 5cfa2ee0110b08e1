"""Memory comes back: after a prompt, after an idle time, and before what can never fit is begun."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from zimage_comfyui.cli.client import Run
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.tests.fakes import graphs, heaps
from zimage_comfyui.tests.fakes.waiting import wait

pytestmark = pytest.mark.slow

MIB = 2**20
IDLE_MINUTES = 0.02
BOUND = 40 * MIB
"""By how much RAM may differ from what it was before models were loaded."""
WEIGHTS = 60 * MIB
"""What the small models take at least: Turbo, its text encoder and the autoencoder as float32."""
SMALL: dict[str, Any] = {
    "load__model_name": "zimage-small-turbo.safetensors",
    "load__text_encoder": "zimage-small-qwen3.safetensors",
    "load__vae": "zimage-small-ae.safetensors",
}
HUGE = "zimage-huge-turbo.safetensors"
HUGE_BYTES = 2**42


def huge(path: Path) -> None:
    """A model larger than the memory of any machine; its weights are a hole in the file."""
    entries: dict[str, Any] = {}
    at = 0
    for name, shape in {"cap_embedder.1.weight": [256, 128], "rest": [HUGE_BYTES]}.items():
        size = shape[0] if len(shape) == 1 else shape[0] * shape[1]
        entries[name] = {"dtype": "F8_E4M3", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


@pytest.fixture(scope="module")
def server(host, pack_dir: Path, tmp_path_factory) -> Iterator[Server]:
    """A ComfyUI that gives idle models back after a second."""
    folder = tmp_path_factory.mktemp("memory")
    huge(folder / HUGE)
    write_paths(folder / "paths.yaml", {"diffusion_models": str(folder)})
    arguments = ("--extra-model-paths-config", str(folder / "paths.yaml"))
    env = {**os.environ, "ZIMAGE_IDLE_MINUTES": str(IDLE_MINUTES)}
    with Server(host, pack_dir, folder / "server", arguments, env=env) as running:
        yield running


def part(server: Server, name: str) -> dict[str, Any]:
    """What ``/health`` has about a part."""
    return server.client.get("/health")["patches"][name]


def render(server: Server, **changes: Any) -> Run:
    """A run of eight steps of the small Turbo."""
    return server.client.run(graphs.render(**{**SMALL, **changes}))


def settled(server: Server) -> bool:
    """Whether the memory of every prompt that has ended was given back."""
    found = server.client.get("/health")
    memory = found["patches"]["memory"]
    return found["queue"]["history"] == memory["prompts"] + memory["refused"]


def resident(server: Server) -> int:
    """RAM of the server while nothing runs, bytes."""
    wait(lambda: settled(server))
    return psutil.Process(server.process.pid).memory_info().rss


def peak(server: Server, reset: bool = False) -> int:
    """The most RAM that the server has had since it was last reset, bytes."""
    folder = Path(f"/proc/{server.process.pid}")
    if reset:
        (folder / "clear_refs").write_text("5")
    lines = (folder / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def unloaded(server: Server, times: int) -> bool:
    """Whether models were unloaded so often, and none is there now."""
    found = server.client.get("/health")
    return found["patches"]["residency"]["unloads"] == times and not found["models_loaded"]


def test_idle_models_go_and_come_back_as_they_were(server) -> None:
    """RAM is what it was before loading; the next use loads again and gives the same bytes."""
    before = part(server, "residency")["unloads"]
    first = render(server)
    assert first.succeeded, first.error
    wait(lambda: unloaded(server, before + 1))
    level = resident(server)
    assert level < peak(server) - WEIGHTS
    for cycle in (2, 3):
        peak(server, reset=True)
        reads = part(server, "tokenizer")["reads"]
        again = render(server)
        assert again.succeeded, again.error
        assert peak(server) > level + WEIGHTS
        assert part(server, "tokenizer")["reads"] == reads + 1  # it had gone as well
        assert not [
            e for e in again.events if e["type"] == "execution_cached" and e["data"]["nodes"]
        ]
        assert server.client.view(again.images[0]) == server.client.view(first.images[0])
        wait(lambda cycle=cycle: unloaded(server, before + cycle))
        assert abs(resident(server) - level) < BOUND


def test_two_text_encoders_share_a_tokenizer(server) -> None:
    """Its files are read for the first load at most; the picture is that of one encoder."""
    one = render(server)
    graph = graphs.render(**SMALL)
    graph["other"] = {**graph["load"], "inputs": {**graph["load"]["inputs"], "dtype": "fp32"}}
    graph["none"] = {**graph["text"], "inputs": {**graph["text"]["inputs"], "clip": ["other", 1]}}
    graph["sample"]["inputs"]["negative"] = ["none", 1]
    told = part(server, "tokenizer")
    both = server.client.run(graph)
    assert both.succeeded, both.error
    found = part(server, "tokenizer")
    assert found["reads"] - told["reads"] <= 1 <= found["shared"] - told["shared"]
    first, second = (Image.open(BytesIO(server.client.view(run.images[0]))) for run in (one, both))
    assert first.tobytes() == second.tobytes()


def test_a_prompt_gives_back_what_it_took(server) -> None:
    """Prompts with the same models end at the same level, whatever they took meanwhile."""
    side = {"size__size": "custom", "size__width": 512, "size__height": 512}
    wait(lambda: not server.client.get("/health")["models_loaded"])  # the first has them to load
    told = part(server, "memory")
    levels = []
    for seed in range(3):
        assert render(server, sample__seed=seed, sample__steps=1, **side).succeeded
        levels.append(resident(server))
    assert max(levels) - min(levels) < BOUND
    found = part(server, "memory")
    assert found["prompts"] == told["prompts"] + 3
    assert found["released"] > told["released"]


def test_all_threads_share_a_heap(server) -> None:
    """Those of their own are never shortened when memory is given back."""
    assert render(server).succeeded
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "[heap]" in maps
    assert not list(heaps.of_threads(maps))


def test_what_can_never_fit_is_refused(server) -> None:
    """With its code, at its node, before anything is loaded; the next prompt runs."""
    peak(server, reset=True)
    before = peak(server)
    done = render(server, load__model_name=HUGE)
    assert "[ZI-MEMORY]" in done.error["exception_message"]
    assert done.error["node_id"] == "size"
    assert done.history["outputs"] == {}
    assert peak(server) < before + BOUND
    assert part(server, "memory")["refused"] == 1
    Image.new("RGB", (300, 200)).save(server.folder / "input" / "given.png")
    small = {name: value for name, value in SMALL.items() if name != "load__model_name"}
    done = server.client.run(graphs.edit("edit", "given.png", **small, load__model_name=HUGE))
    assert "[ZI-MEMORY]" in done.error["exception_message"]
    assert done.error["node_id"] == "given.png"
    assert part(server, "memory")["refused"] == 2
    assert render(server).succeeded


@pytest.mark.gpu
def test_idle_models_leave_the_gpu(server) -> None:
    """All that torch had reserved there for models and work is free again."""
    assert render(server).succeeded
    wait(lambda: not server.client.get("/health")["models_loaded"])
    wait(lambda: server.client.get("/health")["gpu_memory_used_mb"] < WEIGHTS / MIB)

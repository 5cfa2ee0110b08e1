"""The three ways to make a picture that ``turbo`` compares, each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from _common import pack_dir, peak_rss, reset_peak, the_host
from _graphs import host_graph, nodes_graph

Graph = dict[str, dict[str, Any]]
PATIENCE = 3600.0
"""Seconds to wait for a start or a picture: a machine under load is slow, not broken."""


@dataclass(frozen=True)
class Job:
    """One picture: what every contender is asked for."""

    prompt: str
    seed: int
    width: int
    height: int
    steps: int


@dataclass(frozen=True)
class Made:
    """One picture made: seconds from request to saved file, peak device memory in bytes."""

    seconds: float
    device_peak: int
    path: Path


class Contender(Protocol):
    """Something that makes pictures in a process of its own."""

    name: str
    pid: int

    def start(self) -> None:
        """Start the process; models may be loaded at the first picture."""

    def make(self, job: Job) -> Made:
        """Make one picture and save it as PNG."""
        ...

    def stop(self) -> None:
        """End the process."""


class ComfyUI:
    """A real ComfyUI, asked over ``POST /prompt``.

    Args:
        name: for the report.
        graph: ``graph(job)`` in API form; the saved image is the last node's.
        with_pack: False starts the host without any node pack but the benchmarks' probe.
        folder: holds the models (``diffusion_models`` ...) and receives outputs.
    """

    def __init__(
        self, name: str, graph: Callable[[Job], Graph], with_pack: bool, folder: Path
    ) -> None:
        from zimage_comfyui.cli.server import Server

        os.environ["ZIMAGE_SANDBOX"] = "off"  # the probe measures the server's own process
        self.name = name
        self.graph = graph
        own = folder / f"server-{name}"
        packs = own / "bench_packs"
        packs.mkdir(parents=True)
        (packs / "zimage_bench_probe").symlink_to(pack_dir() / "benchmarks" / "_probe")
        paths = {kind: str(folder / kind) for kind in ("diffusion_models", "text_encoders", "vae")}
        config = own / "bench.yaml"  # JSON is YAML
        config.write_text(json.dumps({"bench": {"custom_nodes": str(packs), **paths}}))
        allowed = ["zimage_bench_probe", *([pack_name()] if with_pack else [])]
        arguments = (
            "--extra-model-paths-config",
            str(config),
            "--disable-all-custom-nodes",
            "--whitelist-custom-nodes",
            *allowed,
        )
        self.server = Server(the_host(), pack_dir(), own, arguments, timeout=PATIENCE)
        self.pid = 0

    def start(self) -> None:
        self.server.start()
        assert self.server.process is not None
        self.pid = self.server.process.pid

    def make(self, job: Job) -> Made:
        run = self.server.client.run(self.graph(job), timeout=PATIENCE)
        if not run.succeeded:
            raise RuntimeError(f"{self.name}: {run.error}")
        image = run.images[0]
        path = self.server.folder / "output" / image["subfolder"] / image["filename"]
        peak = self.server.client.get("/bench/device_peak")["bytes"]
        return Made(run.seconds, peak, path)

    def stop(self) -> None:
        self.server.stop()


class Diffusers:
    """diffusers' pipeline over the official folder, driven through pipes."""

    name = "diffusers"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.pid = 0

    def start(self) -> None:
        worker = str(Path(__file__).with_name("_diffusers_worker.py"))
        with (self.folder / "diffusers.log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, worker, str(self.folder / "official")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.pid = self.process.pid
        self._answer()

    def make(self, job: Job) -> Made:
        assert self.process is not None
        assert self.process.stdin is not None
        path = self.folder / "diffusers.png"
        self.process.stdin.write(json.dumps({**vars(job), "path": str(path)}) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        return Made(answer["seconds"], answer["device_peak"], path)

    def stop(self) -> None:
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(30)

    def _answer(self) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError((self.folder / "diffusers.log").read_text()[-500:])
        return json.loads(line)


def all_three(folder: Path, full: bool) -> list[Contender]:
    """Our nodes, the host's own, diffusers; ``full`` uses the host's own loaders."""
    return [
        ComfyUI("nodes", lambda job: nodes_graph(job, full), True, folder),
        ComfyUI("host", lambda job: host_graph(job, full), False, folder),
        Diffusers(folder),
    ]


def pack_name() -> str:
    """The pack's folder name in the host's ``custom_nodes``, or the one a Server links it under."""
    folder = the_host().custom_nodes
    entries = folder.iterdir() if folder.is_dir() else ()
    for entry in entries:
        if entry.resolve() == pack_dir().resolve():
            return entry.name
    return "z-image-comfyui"


def watch(contender: Contender) -> Callable[[], int]:
    """Count the peak of resident memory from here on; the result tells it in bytes."""
    reset_peak(contender.pid)
    return lambda: peak_rss(contender.pid)


def clean(folder: Path) -> None:
    """Remove the models and everything the contenders wrote."""
    shutil.rmtree(folder, ignore_errors=True)

"""The three contenders of ``turbo``, each in its own process."""

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
"""Time limit in seconds of a start or a picture; a machine under load is slow."""


@dataclass(frozen=True)
class Job:
    """The settings of a picture, the same for every contender."""

    prompt: str
    seed: int
    width: int
    height: int
    steps: int


@dataclass(frozen=True)
class Rendered:
    """A picture: seconds from request to saved file, peak device memory in bytes, and the file."""

    seconds: float
    device_peak: int
    path: Path


class Contender(Protocol):
    """A way to make pictures, in its own process."""

    name: str
    pid: int

    def start(self) -> None:
        """Start the process; models may be loaded with the first picture."""

    def make(self, job: Job) -> Rendered:
        """Make one picture and save it as PNG."""
        ...

    def stop(self) -> None:
        """End the process."""


class ComfyUI:
    """A real ComfyUI, controlled by ``POST /prompt``.

    Args:
        name: name in the report.
        graph: ``graph(job)`` returns a prompt in API form; its last node saves the image.
        with_pack: False starts the host with no other node pack than the benchmarks' probe.
        folder: folder of the models (``diffusion_models`` ...) and of outputs.
    """

    def __init__(
        self, name: str, graph: Callable[[Job], Graph], with_pack: bool, folder: Path
    ) -> None:
        from zimage_comfyui.cli.server import Server

        os.environ["ZIMAGE_SANDBOX"] = "off"  # the probe measures the server's own process
        self.name = name
        self.graph = graph
        server_folder = folder / f"server-{name}"
        packs = server_folder / "bench_packs"
        packs.mkdir(parents=True)
        (packs / "zimage_bench_probe").symlink_to(pack_dir() / "benchmarks" / "_probe")
        paths = {kind: str(folder / kind) for kind in ("diffusion_models", "text_encoders", "vae")}
        config = server_folder / "bench.yaml"  # JSON is YAML
        config.write_text(json.dumps({"bench": {"custom_nodes": str(packs), **paths}}))
        allowed = ["zimage_bench_probe", *([pack_name()] if with_pack else [])]
        arguments = (
            "--extra-model-paths-config",
            str(config),
            "--disable-all-custom-nodes",
            "--whitelist-custom-nodes",
            *allowed,
        )
        self.server = Server(the_host(), pack_dir(), server_folder, arguments, timeout=PATIENCE)
        self.pid = 0

    def start(self) -> None:
        """Start the server."""
        self.server.start()
        assert self.server.process is not None
        self.pid = self.server.process.pid

    def make(self, job: Job) -> Rendered:
        """Run the prompt and read the peak of device memory."""
        run = self.server.client.run(self.graph(job), timeout=PATIENCE)
        if not run.succeeded:
            raise RuntimeError(f"{self.name}: {run.error}")
        image = run.images[0]
        path = self.server.folder / "output" / image["subfolder"] / image["filename"]
        peak = self.server.client.get("/bench/device_peak")["bytes"]
        return Rendered(run.seconds, peak, path)

    def stop(self) -> None:
        """Stop the server."""
        self.server.stop()


class Diffusers:
    """diffusers' pipeline with the official folder, controlled through pipes."""

    name = "diffusers"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.pid = 0

    def start(self) -> None:
        """Start the worker and wait until the pipeline is loaded."""
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

    def make(self, job: Job) -> Rendered:
        """Send a request and wait for its response."""
        assert self.process is not None
        assert self.process.stdin is not None
        path = self.folder / "diffusers.png"
        self.process.stdin.write(json.dumps({**vars(job), "path": str(path)}) + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        return Rendered(answer["seconds"], answer["device_peak"], path)

    def stop(self) -> None:
        """Close the pipe, which ends the worker."""
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
    """Return the pack's nodes, the host's nodes and diffusers.

    Args:
        folder: folder of the models.
        full: whether the models have the official size, which the host's own loaders read.
    """
    return [
        ComfyUI("nodes", lambda job: nodes_graph(job, full), True, folder),
        ComfyUI("host", lambda job: host_graph(job, full), False, folder),
        Diffusers(folder),
    ]


def pack_name() -> str:
    """Return the pack's folder name in ``custom_nodes``, or the name that a Server links it as."""
    folder = the_host().custom_nodes
    entries = folder.iterdir() if folder.is_dir() else ()
    for entry in entries:
        if entry.resolve() == pack_dir().resolve():
            return entry.name
    return "z-image-comfyui"


def watch(contender: Contender) -> Callable[[], int]:
    """Reset the peak of resident memory; the result returns the peak in bytes."""
    reset_peak(contender.pid)
    return lambda: peak_rss(contender.pid)


def clean(folder: Path) -> None:
    """Remove the models and all files of the contenders."""
    shutil.rmtree(folder, ignore_errors=True)

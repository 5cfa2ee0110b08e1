"""Servers with a pack that makes trouble, and how its prompts ended."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, write_paths
from zimage_comfyui.drill import nodes as trouble_nodes
from zimage_comfyui.tests.fakes.waiting import wait

Start = Callable[..., Server]


@pytest.fixture(scope="session")
def start(host: Host, pack_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Makes a server that is not started yet: ``start(folder, off="queue,fuse", host=…)``."""
    packs = tmp_path_factory.mktemp("packs")
    shutil.copy(str(trouble_nodes.__file__), packs / "trouble.py")
    write_paths(packs / "paths.yaml", {"custom_nodes": str(packs)})
    arguments = ("--extra-model-paths-config", str(packs / "paths.yaml"))

    def make(folder: Path, off: str = "", host: Host = host) -> Server:
        return Server(host, pack_dir, folder, arguments, env={**os.environ, "ZIMAGE_OFF": off})

    return make


def graph(kind: str, node: str = "Trouble", **inputs: object) -> dict[str, Any]:
    """A prompt of one node that makes trouble."""
    return {"1": {"class_type": node, "inputs": {"kind": kind, **inputs}}}


def ended(server: Server, id: str) -> dict[str, Any]:
    """The history entry of a prompt, once there is one."""
    return wait(lambda: server.client.get(f"/history/{id}"))[id]


def message(entry: dict[str, Any]) -> str:
    """Why a prompt failed."""
    assert entry["status"]["status_str"] == "error"
    return dict(entry["status"]["messages"])["execution_error"]["exception_message"]


def health(server: Server) -> dict[str, Any]:
    """``/health``, whatever its status."""
    return json.loads(server.client.request("/health")[1])


def core_log(server: Server) -> dict[str, dict[str, Any]]:
    """``core.jsonl`` by request id."""
    path = server.folder / "user" / "__zimage" / "logs" / "core.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = {line["request_id"]: line for line in lines}
    assert len(found) == len(lines)
    return found

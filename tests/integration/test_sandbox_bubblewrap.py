"""A pack that runs in bubblewrap, in a real ComfyUI; and what is said where that cannot be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server
from zimage_comfyui.sandbox.confinement import bubblewrap
from zimage_comfyui.tests.fakes.waiting import wait
from zimage_comfyui.tests.integration.test_sandbox import node, outcome, server_with

POLICY = """
mode = "strict"

[packs.looks]
bubblewrap = true
"""


@pytest.fixture
def server(tmp_path: Path, host: Host, pack_dir: Path) -> Server:
    """A server with a pack that wants bubblewrap, not started."""
    found = server_with(tmp_path, host, pack_dir, "strict", ("looks",))
    (tmp_path / "server" / "user" / "__zimage" / "sandbox.toml").write_text(POLICY)
    (tmp_path / "secret.txt").write_text("secret")
    return found


@pytest.fixture
def started(server: Server) -> Iterator[Server]:
    """The same, started."""
    with server:
        yield server


def seen(client: Client, path: Path, again: int) -> dict[str, Any]:
    """What the pack sees."""
    found = outcome(client, {"1": node("LooksAround", path=str(path), again=again)})
    assert found["status"]["status_str"] == "success", found["status"]
    return json.loads(found["outputs"]["1"]["text"][0])


def state(client: Client) -> dict[str, Any]:
    """The pack, in ``/health``."""
    return client.get("/health")["sandboxes"]["packs"]["looks"]


@pytest.mark.skipif(
    bubblewrap.available().state != "applied", reason="bubblewrap cannot be used here"
)
def test_what_is_not_granted_is_not_there(started: Server, tmp_path: Path) -> None:
    """Neither other files nor processes nor the network; what it keeps stays; kill and restart
    work, and what is granted later holds from the next process on."""
    client = started.client
    secret = tmp_path / "secret.txt"
    first = seen(client, secret, 1)
    assert first["size"] == "FileNotFoundError"
    assert first["kept"] == 1
    pid = state(client)["pid"]
    assert first["pid"] < pid  # it has numbers of its own
    for kind in ("net", "pid", "ipc", "mnt", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    assert state(client)["not_confined"] == {}

    psutil.Process(pid).kill()
    wait(lambda: state(client)["pid"] not in (None, pid))
    assert seen(client, secret, 2)["kept"] == 2

    policy = tmp_path / "server" / "user" / "__zimage" / "sandbox.toml"
    policy.write_text(POLICY + f"read = [{json.dumps(str(secret))}]\n")
    assert client.request("/zimage/sandbox/restart", {"pack": "looks"})[0] == 200
    assert seen(client, secret, 3)["size"] == len("secret")


def test_without_bubblewrap(server: Server, tmp_path: Path) -> None:
    """Where it is not installed the pack runs as others do, and ``/health`` says so."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if program.name != "bwrap" and not link.is_symlink():
                link.symlink_to(program)
    server.env["PATH"] = str(folder)
    with server:
        assert seen(server.client, tmp_path / "secret.txt", 1)["size"] == len("secret")
        found = state(server.client)["not_confined"]["bubblewrap"]
        assert found["state"] == "unavailable"
        assert "bwrap" in found["reason"]
        assert "sizes" in found["gaps"]

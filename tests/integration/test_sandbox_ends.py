"""However a pack, its template or ComfyUI ends, nothing of a sandbox is left over."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.fakes.waiting import wait
from zimage_comfyui.tests.integration.test_sandbox import log, node, outcome, server_with, where


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, host: Host, pack_dir: Path
) -> Iterator[Server]:
    """Strict, with a pack that leaves programs behind and another."""
    folder = tmp_path_factory.mktemp("ends")
    with server_with(folder, host, pack_dir, "strict", ("outside", "daemons")) as found:
        yield found


def sleepers(server: Server) -> list[psutil.Process]:
    """Programs that the pack has left behind."""
    found = []
    for one in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if one.cmdline()[:2] == ["sleep", "4321"]:
                found.append(one)
    return found


def test_what_a_pack_leaves_behind_is_its_own(server) -> None:
    """It counts as the pack's and ends with its process, whoever its parent was."""
    found = outcome(server.client, {"1": node("DaemonsLeave", count=20, seed=1)})
    assert found["outputs"]["1"]["left"] == [20]
    assert len(sleepers(server)) == 20, log(server)[-1000:]
    daemons = server.client.get("/health")["sandboxes"]["packs"]["daemons"]
    outcome(server.client, {"1": node("DaemonsLeave", count=40, seed=2)})

    def ended() -> bool:
        now = server.client.get("/health")["sandboxes"]["packs"]["daemons"]
        return "threads and processes" in now["last_end"] and now["ends"] > daemons["ends"]

    wait(ended)
    wait(lambda: sleepers(server) == [])


def test_nothing_is_left_of_what_is_killed(server) -> None:
    """Workers end with template and ComfyUI, and so do the programs that they have left behind;
    ComfyUI makes another template."""
    for killed in ("template", "ComfyUI"):
        worker = psutil.Process(where(server, len(killed))["pid"])
        template = worker.parent()
        outcome(server.client, {"1": node("DaemonsLeave", count=20, seed=len(killed))})
        programs = sleepers(server)
        assert len(programs) == 20
        pid = {"template": template.pid, "ComfyUI": server.process.pid}[killed]
        os.kill(pid, signal.SIGKILL)
        _, alive = psutil.wait_procs([worker, template, *programs], timeout=30)
        assert not alive

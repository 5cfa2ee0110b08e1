"""``./zimage serve`` with its guardian and a real ComfyUI: nothing accepted is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.server import free_port, write_paths
from zimage_comfyui.config import PACK_DIR
from zimage_comfyui.drill import nodes as trouble_nodes
from zimage_comfyui.tests.fakes.waiting import wait

pytestmark = pytest.mark.slow


class Serve:
    """The command, and a client of what it serves."""

    def __init__(self, host: Any, folder: Path, *options: str) -> None:
        packs = folder / "packs"
        for name in ("packs", "output", "user", "input", "logs"):
            (folder / name).mkdir()
        shutil.copy(trouble_nodes.__file__, packs / "trouble.py")
        write_paths(packs / "paths.yaml", {"custom_nodes": str(packs)})
        self.folder, self.port = folder, free_port()
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.command = [sys.executable, "-I", str(PACK_DIR / "cli" / "main.py"), "serve"]
        self.command += ["--comfyui", str(host.path), "--port", str(self.port), *options, "--"]
        self.command += ["--extra-model-paths-config", str(packs / "paths.yaml")]
        for name in ("output", "user", "input"):
            self.command += [f"--{name}-directory", str(folder / name)]
        self.command += ["--database-url", f"sqlite:///{folder / 'user' / 'comfyui.db'}"]
        self.start()

    def start(self) -> None:
        """Start, or start anew."""
        env = os.environ | {
            "ZIMAGE_HOME": str(self.folder / "home"), "ZIMAGE_LOG_DIR": str(self.folder / "logs"),
        }  # fmt: skip
        self.process = subprocess.Popen(
            self.command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def log(self, name: str = "guardian") -> str:
        """What has been told."""
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def servers(self, state: str) -> list[int]:
        """Processes in the order in which they reached a state."""
        lines = [line for line in self.log().splitlines() if state in line]
        return [int(line.partition("[")[2].partition("]")[0]) for line in lines]

    def submit(self, kind: str, **inputs: object) -> str:
        """Accepted with 200, or the test fails."""
        node = {"class_type": "Trouble", "inputs": {"kind": kind, **inputs}}
        status, answer = self.client.submit({"1": node})
        assert status == 200
        return answer["prompt_id"]

    def ended(self, id: str) -> dict[str, Any]:
        """The history of a prompt, once there is one."""

        def look() -> Any:
            try:
                return self.client.get(f"/history/{id}")
            except OSError:
                return None

        return wait(look, 300)[id]


@pytest.fixture
def serve(host, tmp_path: Path) -> Iterator[Callable[..., Serve]]:
    """Starts the command; ends it, and whatever it has started."""
    made: list[Serve] = []

    def make(*options: str) -> Serve:
        made.append(Serve(host, tmp_path, *options))
        wait(made[-1].client.answers, 300)
        return made[-1]

    yield make
    for one in made:
        one.process.send_signal(signal.SIGTERM)
        if one.process.poll() is None:
            one.process.wait(60)
        for pid in one.servers("starting a server"):
            if psutil.pid_exists(pid):
                psutil.Process(pid).kill()


def test_a_killed_server_is_replaced_and_nothing_is_lost(serve) -> None:
    """By the standby: connections wait, the running prompt runs again, each ends once."""
    served = serve("--standby", "on")
    (first,) = served.servers("serves now")
    standby = wait(lambda: served.servers("ready after")[1:], 300)[0]
    refused: list[OSError] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                served.client.request("/prompt", timeout=60)
            except ConnectionRefusedError as error:
                refused.append(error)
            except OSError as error:
                if isinstance(getattr(error, "reason", None), ConnectionRefusedError):
                    refused.append(error)

    running = served.submit("sleep", seconds=3.0)
    wait(lambda: json.loads(served.client.request("/health")[1])["queue"]["running"])
    waiting = [served.submit("none", note=str(number)) for number in range(3)]
    thread = threading.Thread(target=ask)
    thread.start()
    os.kill(first, signal.SIGKILL)
    try:
        entries = [served.ended(id) for id in (running, *waiting)]
    finally:
        stop.set()
        thread.join()
    assert [entry["status"]["status_str"] for entry in entries] == ["success"] * 4
    assert served.servers("serves now") == [first, standby]
    assert refused == []


def test_sigterm_lets_the_running_prompt_end_and_keeps_the_rest(
    serve, pack_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is there again after the next start; sampling for too long has a code."""
    monkeypatch.setenv("ZIMAGE_DEADLINES", "turbo.cpu=0.3")
    served = serve("--standby", "off")
    running = served.submit("sleep", seconds=2.0)
    wait(lambda: json.loads(served.client.request("/health")[1])["queue"]["running"])
    waiting = served.submit("none", note="later")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(120) == 0
    served.start()
    assert served.ended(running)["status"]["completed"]
    assert served.ended(waiting)["status"]["completed"]
    assert "Z-Image: hardening" not in served.log("comfyui")
    template = pack_dir / "workflows" / "api" / "电商海报生成.json"
    done = served.client.run(json.loads(template.read_text(encoding="utf-8")))
    assert done.error is not None
    assert "[ZI-DEADLINE]" in done.error["exception_message"]
    assert served.client.run({"1": {"class_type": "Trouble", "inputs": {"kind": "none"}}}).succeeded


def test_a_host_that_does_not_fit_is_served_without_a_guardian(
    serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers end because the port is taken by the guardian; it lets go of it."""
    monkeypatch.setenv("ZIMAGE_OFF", "guarded")
    served = serve("--standby", "off")
    assert served.client.get("/health")["patches"]["guarded"]["status"] == "off"
    assert served.servers("serves now") == []
    assert len(served.servers("starting a server")) == 2

"""The server of a drill: ``./zimage serve`` with its own folders and a node pack with faults."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..cli.client import Client
from ..cli.host import Host
from ..cli.server import free_port, host_environment, write_paths
from ..config import PACK_DIR

LIMIT = 300.0
"""Seconds until an expected event counts as failed."""
IMPATIENT = {
    "ZIMAGE_GUARD": "silence=5,probes=5,grace=20,quick=0.5,growth_time=6",
    "ZIMAGE_INTERRUPT": "2",
}
"""Shorter limits of the guardian and the server, so that a drill detects a hang or a leak soon."""
SANDBOXES = """
[packs.trouble]
run = "trusted"

[packs.crash]
run = "trusted"
"""
"""Packs whose faults are meant for the server run in its process."""
NODES = Path(__file__).with_name("nodes.py")


def until(condition: Callable[[], Any], what: str, seconds: float = LIMIT) -> Any:
    """Wait for a condition to become true; return its value.

    Args:
        condition: called every 20 ms.
        what: the expected event, for the error message.
        seconds: time limit.

    Raises:
        TimeoutError: with ``what``, if the condition does not become true in time.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
    return value


@contextmanager
def default_sighup() -> Iterator[None]:
    """Restore the default action of SIGHUP for processes started meanwhile; nohup ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class Stage:
    """A guardian and its server.

    Args:
        host: the ComfyUI to start.
        folder: folder of all files that are written.
        options: options of ``serve``.
        env: environment variables in addition to those of this process.
    """

    def __init__(
        self, host: Host, folder: Path, *options: str, env: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.env = host_environment() | {
            "ZIMAGE_HOME": str(folder / "home"),
            "ZIMAGE_LOG_DIR": str(folder / "logs"),
            "ZIMAGE_SANDBOX": "off",  # see add_sandboxed_pack
            **(env or {}),
        }
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.packs = folder / "packs"
        self.models = folder / "models"
        for name in ("packs", "models", "output", "user", "input", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(NODES, self.packs / "trouble.py")
        paths: dict[str, object] = {
            "custom_nodes": str(self.packs),
            "diffusion_models": str(self.models),
        }
        write_paths(self.packs / "paths.yaml", paths)
        self.command = [sys.executable, "-I", str(PACK_DIR / "cli" / "main.py"), "serve"]
        self.command += ["--comfyui", str(host.path), "--port", str(self.port), *options, "--"]
        self.command += ["--extra-model-paths-config", str(self.packs / "paths.yaml")]
        for name in ("output", "user", "input"):
            self.command += [f"--{name}-directory", str(folder / name)]
        self.command += ["--database-url", f"sqlite:///{folder / 'user' / 'comfyui.db'}"]
        self.process: subprocess.Popen[bytes] | None = None
        self.is_down = False  # guardian and server are both dead: refused connections are expected

    def add_sandboxed_pack(self) -> None:
        """Add a second pack with faults, which runs in a sandbox and has the node ``Boxed``."""
        text = NODES.read_text(encoding="utf-8") + '\nNODE_CLASS_MAPPINGS = {"Boxed": Trouble}\n'
        (self.packs / "boxed.py").write_text(text, encoding="utf-8")
        policy = self.folder / "user" / "__zimage" / "sandbox.toml"
        policy.parent.mkdir(exist_ok=True)
        policy.write_text(SANDBOXES)
        self.env["ZIMAGE_SANDBOX"] = "auto"

    @contextmanager
    def second_server(self) -> Iterator[Client]:
        """Start another server with the same folders, on another port and without a guardian."""
        port = str(free_port())
        separator = self.command.index("--")
        command = [port if word == str(self.port) else word for word in self.command[:separator]]
        command += ["--guardian", "off", *self.command[separator:]]
        command += ["--temp-directory", str(self.folder / "second")]
        client = Client(f"http://127.0.0.1:{port}")
        null = subprocess.DEVNULL
        with subprocess.Popen(command, env=self.env, stdout=null, stderr=null) as process:
            try:
                until(lambda: client.answers() or process.poll() is not None, "an answer")
                yield client
            finally:
                process.kill()

    def start(self) -> None:
        """Start a guardian and wait until the server responds."""
        with default_sighup():
            self.process = subprocess.Popen(
                self.command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        process = self.process
        until(lambda: self.client.answers() or process.poll() is not None, "an answer")
        if process.returncode is not None:
            raise OSError(f"the guardian ended: exit {process.returncode}")

    def stop(self) -> None:
        """Stop the guardian and kill all servers that it has started."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for pid in self.pids("starting a server"):
            if self.runs(pid):
                os.kill(pid, signal.SIGKILL)

    def log(self, name: str = "guardian.log") -> list[str]:
        """Return the lines of a log file, by default those of the guardian."""
        path = self.folder / "logs" / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def pids(self, event: str) -> list[int]:
        """Return the servers' process ids in the guardian's log lines about an event, in order."""
        lines = [line for line in self.log() if event in line]
        return [int(line.partition("[")[2].partition("]")[0]) for line in lines]

    def pauses(self) -> list[str]:
        """Return the guardian's log lines about pauses before a restart."""
        return [line for line in self.log() if "next start in" in line]

    def runs(self, pid: int) -> bool:
        """Return whether a process is alive and a server of this stage."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return str(self.port).encode() in command and state not in "ZX"

    @property
    def active(self) -> int:
        """The process id of the active server; waits for one."""

        def find() -> int:
            pids = [*self.pids("serves now"), *self.pids("found a running server")]
            return next((pid for pid in reversed(pids) if self.runs(pid)), 0)

        return until(find, "a server")

    @property
    def standby(self) -> int:
        """The process id of the standby, 0 if none is ready."""
        served = set(self.pids("serves now"))
        waiting = [pid for pid in self.pids("ready after") if pid not in served]
        return next((pid for pid in waiting[::-1] if self.runs(pid)), 0)

    def settle(self) -> None:
        """Wait until the server responds and a standby is ready."""
        until(self.client.answers, "an answer")
        until(lambda: self.standby, "a standby")

    def post(self, path: str, data: bytes, headers: dict[str, str] | None = None) -> Any:
        """Send a POST with raw bytes; return status and JSON (or bytes) of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, data, headers or {})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        try:
            return response.status, json.loads(body)
        except ValueError:
            return response.status, body

    def entry(self, id: str) -> dict[str, Any]:
        """Wait for the end of a prompt; return its entry of the history."""

        def look() -> Any:
            try:
                return self.client.get(f"/history/{id}")
            except (OSError, http.client.HTTPException):
                return None

        return until(look, f"the end of prompt {id}")[id]

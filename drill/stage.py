"""``./zimage serve`` with folders of its own, a pack that makes trouble, a client that counts."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
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
"""Seconds after which something that should happen counts as lost; far more than it takes."""
IMPATIENT = {
    "ZIMAGE_GUARD": "silence=5,probes=5,grace=20,quick=0.5,growth_time=6",
    "ZIMAGE_INTERRUPT": "2",
}
"""For the guardian and the server: a drill has no minute to wait for a hang, and a server may leak
again sooner than in half an hour."""
SANDBOXES = """
[packs.trouble]
run = "trusted"

[packs.crash]
run = "trusted"
"""
"""What is meant for the server itself is in its process."""
NODES = Path(__file__).with_name("nodes.py")


def until(condition: Callable[[], Any], what: str, seconds: float = LIMIT) -> Any:
    """What a condition gives once it is true.

    Raises:
        TimeoutError: it did not come true; with ``what`` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
    return found


@contextmanager
def hearing_hangups() -> Iterator[None]:
    """What is started meanwhile hears SIGHUP, also where nohup has this process ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class Stage:
    """A guarded server.

    Args:
        host: which ComfyUI.
        folder: everything is written below it.
        options: of ``serve``.
        env: environment variables beside those of this process.
    """

    def __init__(
        self, host: Host, folder: Path, *options: str, env: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.port = folder, free_port()
        self.env = host_environment() | {
            "ZIMAGE_HOME": str(folder / "home"),
            "ZIMAGE_LOG_DIR": str(folder / "logs"),
            "ZIMAGE_SANDBOX": "off",  # until there is somebody for one
            **(env or {}),
        }
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.packs, self.models = folder / "packs", folder / "models"
        for name in ("packs", "models", "output", "user", "input", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(NODES, self.packs / "trouble.py")
        places: dict[str, object] = {
            "custom_nodes": str(self.packs),
            "diffusion_models": str(self.models),
        }
        write_paths(self.packs / "paths.yaml", places)
        self.command = [sys.executable, "-I", str(PACK_DIR / "cli" / "main.py"), "serve"]
        self.command += ["--comfyui", str(host.path), "--port", str(self.port), *options, "--"]
        self.command += ["--extra-model-paths-config", str(self.packs / "paths.yaml")]
        for name in ("output", "user", "input"):
            self.command += [f"--{name}-directory", str(folder / name)]
        self.command += ["--database-url", f"sqlite:///{folder / 'user' / 'comfyui.db'}"]
        self.process: subprocess.Popen[bytes] | None = None
        self.away = False  # guardian and server are both gone, so that nobody has the port

    def box(self) -> None:
        """Have the pack that makes trouble a second time, in a sandbox, with the node ``Boxed``."""
        text = NODES.read_text(encoding="utf-8") + '\nNODE_CLASS_MAPPINGS = {"Boxed": Trouble}\n'
        (self.packs / "boxed.py").write_text(text, encoding="utf-8")
        policy = self.folder / "user" / "__zimage" / "sandbox.toml"
        policy.parent.mkdir(exist_ok=True)
        policy.write_text(SANDBOXES)
        self.env["ZIMAGE_SANDBOX"] = "auto"

    @contextmanager
    def second(self) -> Iterator[Client]:
        """Another server with the same folders, on a port of its own and without a guardian."""
        port, at = str(free_port()), self.command.index("--")
        command = [port if word == str(self.port) else word for word in self.command[:at]]
        command += ["--guardian", "off", *self.command[at:]]
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
        """Start the guardian, or another one, and wait for an answer."""
        with hearing_hangups():
            self.process = subprocess.Popen(
                self.command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        process = self.process
        until(lambda: self.client.answers() or process.poll() is not None, "an answer")
        if process.returncode is not None:
            raise OSError(f"the guardian ended: exit {process.returncode}")

    def stop(self) -> None:
        """End the guardian and whatever it has started."""
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
        """What the guardian, or another, has told."""
        path = self.folder / "logs" / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def pids(self, event: str) -> list[int]:
        """Servers, in the order in which an event was told of them."""
        lines = [line for line in self.log() if event in line]
        return [int(line.partition("[")[2].partition("]")[0]) for line in lines]

    def pauses(self) -> list[str]:
        """Where the guardian says how long it waits after a death."""
        return [line for line in self.log() if "next start in" in line]

    def runs(self, pid: int) -> bool:
        """Whether it is one of our servers and alive."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return str(self.port).encode() in command and state not in "ZX"

    @property
    def active(self) -> int:
        """The process that serves."""

        def find() -> int:
            told = [*self.pids("serves now"), *self.pids("found a running server")]
            return next((pid for pid in reversed(told) if self.runs(pid)), 0)

        return until(find, "a server")

    @property
    def standby(self) -> int:
        """The process that waits, 0 when none does yet."""
        served = set(self.pids("serves now"))
        waiting = [pid for pid in self.pids("ready after") if pid not in served]
        return next((pid for pid in waiting[::-1] if self.runs(pid)), 0)

    def settle(self) -> None:
        """Wait until a server answers and another waits."""
        until(self.client.answers, "an answer")
        until(lambda: self.standby, "a standby")

    def post(self, path: str, data: bytes, headers: dict[str, str] | None = None) -> Any:
        """Status and JSON (or bytes) of a POST of raw bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, data, headers or {})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def entry(self, id: str) -> dict[str, Any]:
        """The history of a prompt, once there is one."""

        def look() -> Any:
            try:
                return self.client.get(f"/history/{id}")
            except (OSError, http.client.HTTPException):
                return None

        return until(look, f"the end of prompt {id}")[id]


LOOK = 1000
"""Accepted prompts after which results are looked at: a history is bounded, a drill is not."""


class Load(threading.Thread):
    """Submits a small prompt again and again, and keeps what was promised."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self.stage, self.done = stage, threading.Event()
        self.promised: dict[str, str] = {}
        self.kept: set[str] = set()
        self.refused: list[str] = []
        self.broken = self.busy = 0

    def run(self) -> None:
        """Until :attr:`done`."""
        number = 0
        while not self.done.wait(0.05):
            number += 1
            node = {"class_type": "Trouble", "inputs": {"kind": "none", "note": str(number)}}
            try:
                status, answer = self.stage.client.submit({"1": node})
            except OSError as error:
                refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
                if refused and not self.stage.away:
                    self.refused.append(time.strftime("%H:%M:%S"))
                self.broken += 1
                continue
            except http.client.HTTPException:
                self.broken += 1
                continue
            if status == 200:
                self.promised[answer["prompt_id"]] = str(number)
                if len(self.promised) % LOOK == 0:
                    self._look()
            else:
                self.busy += 1

    def _look(self) -> None:
        """See which have their own result by now; the rest is looked at again."""
        for id, note in self.promised.items():
            if id in self.kept:
                continue
            entry = quietly(lambda id=id: self.stage.client.get(f"/history/{id}"))
            if entry is None:
                return  # nobody answers just now
            if _is_own(entry.get(id), note):
                self.kept.add(id)

    def broken_promises(self) -> list[str]:
        """Accepted prompts without their own result; waits for those that still wait."""
        history: dict[str, Any] = {}

        def idle() -> bool:
            queue = self.stage.client.get("/queue")
            return not queue["queue_running"] and not queue["queue_pending"]

        until(lambda: quietly(idle), "an empty queue")
        history = self.stage.client.get("/history")
        return [
            id
            for id, note in self.promised.items()
            if id not in self.kept and not _is_own(history.get(id), note)
        ]


def _is_own(entry: dict[str, Any] | None, note: str) -> bool:
    """Whether a history entry is the result of the prompt with that note."""
    return (entry or {}).get("outputs", {}).get("1", {}).get("text") == ["none", note]


def quietly(attempt: Callable[[], Any]) -> Any:
    """What an attempt gives; None where the server did not answer."""
    try:
        return attempt()
    except (OSError, http.client.HTTPException):
        return None

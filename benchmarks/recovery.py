"""Recovery: time from ``kill -9`` of the server to the next response and the next completed prompt.

Measured with a standby, without a standby, and for the bare host in a restart loop. The last two
take half a minute for each kill, so they get a tenth of the kills. Meanwhile a client submits
prompts and records refused connections and accepted prompts that do not end.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import _common

KINDS = ("standby", "guardian", "bare")
PROMPT = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
    },
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
QUICK = "quick=0.1"
"""A short limit, so that kills do not count as deaths in a row, after which the guardian waits."""
LIMIT = 300.0
"""Time limit of a recovery in seconds."""


def main(argv: list[str]) -> int:
    """Kill servers of each kind; return exit code 0 if all recovered."""
    parser = _common.parser(__doc__ or "", repeats=10)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of servers")
    options = parser.parse_args(argv)
    _common.load_pack()
    contenders = {}
    for kind in options.kinds:
        with (
            tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder,
            Served(kind, Path(folder)) as served,
        ):
            kills = options.repeats if kind == KINDS[0] else max(1, options.repeats // 10)
            contenders[kind] = {"kills": kills, **_measure(served, kills)}
    figures = {"contenders": contenders}
    return _common.finish("recovery", options, figures, _table(figures))


class Served:
    """A server that is restarted when it dies."""

    def __init__(self, kind: str, folder: Path) -> None:
        from zimage_comfyui.cli.server import (
            free_port,
            host_environment,
            main_command,
            start_command,
        )

        self.kind = kind
        self.folder = folder
        self.port = free_port()
        self.host, pack = _common.the_host(), _common.pack_dir()
        self.env = host_environment() | {"ZIMAGE_HOME": str(folder), "ZIMAGE_LOG_DIR": str(folder)}
        self.env["ZIMAGE_GUARD"] = QUICK
        direct = start_command(self.host, pack, folder, self.port)
        if kind == "bare":
            self.command = [*direct, "--disable-all-custom-nodes"]
            return
        begin = [sys.executable, "-I", str(pack / "cli" / "main.py"), "serve"]
        begin += ["--comfyui", str(self.host.path), "--port", str(self.port)]
        begin += ["--standby", "on" if kind == "standby" else "off", "--"]
        own_options = ["--listen", "--port", "--temp-directory", "--extra-model-paths-config"]
        arguments = direct[len(main_command(self.host, pack)) :]
        self.command = begin + _without(arguments, own_options)

    def __enter__(self) -> Served:
        self.ended = threading.Event()
        self.process = self._start()
        if self.kind == "bare":
            self.keeper = threading.Thread(target=self._keep, daemon=True)
            self.keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command,
            cwd=self.host.path,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _keep(self) -> None:
        """Restart the bare host, like a service manager."""
        while self.process.wait() is not None and not self.ended.is_set():
            self.process = self._start()

    def log(self) -> list[str]:
        """Return the lines of the guardian's log."""
        path = self.folder / "guardian.log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def pid(self) -> int:
        """Return the process id of the active server."""
        if self.kind == "bare":
            return self.process.pid
        last = [line for line in self.log() if "serves now" in line][-1]
        return int(last.partition("[")[2].partition("]")[0])

    def settled(self) -> bool:
        """Return whether a standby is ready again."""
        if self.kind != "standby":
            return True
        log = self.log()
        served = sum("serves now" in line for line in log)
        return sum("ready after" in line for line in log) > served

    def request(self, path: str, body: Any = None, timeout: float = 60) -> Any:
        """Return the JSON of a response 200; raise OSError or HTTPException without one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"}
            connection.request("GET" if data is None else "POST", path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise OSError(answer.status)
            return json.loads(text)
        finally:
            connection.close()

    def await_answer(self) -> None:
        """Wait until the API responds."""
        _until(lambda: _tried(lambda: bool(self.request("/prompt"))))


class Client(threading.Thread):
    """Submits prompts continuously; counts accepted prompts and refused connections."""

    def __init__(self, served: Served) -> None:
        super().__init__(daemon=True)
        self.served = served
        self.done = threading.Event()
        self.accepted: list[str] = []
        self.refused = 0
        self.broken = 0

    def run(self) -> None:
        """Submit prompts until :attr:`done` is set."""
        while not self.done.wait(0.02):
            try:
                self.accepted.append(
                    self.served.request("/prompt", {"prompt": PROMPT})["prompt_id"]
                )
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, http.client.HTTPException):
                self.broken += 1  # the server died before its response, so nothing was accepted


def _measure(served: Served, kills: int) -> dict[str, Any]:
    served.await_answer()
    answer: list[float] = []
    finished: list[float] = []
    accepted: list[str] = []
    refused = broken = 0
    dice = random.Random(7)
    for number in range(kills):
        _until(served.settled)
        client = Client(served)
        client.start()
        time.sleep(0.2 + dice.random())
        pid, before = served.pid(), time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        _until(lambda pid=pid: not _alive(pid))
        served.await_answer()
        answer.append(time.perf_counter() - before)
        _until(lambda: _tried(lambda: _finish(served)))
        finished.append(time.perf_counter() - before)
        client.done.set()
        client.join()
        accepted += client.accepted
        refused, broken = refused + client.refused, broken + client.broken
        _common.say(
            f"{served.kind} {number + 1}: answers {answer[-1]:.2f} s, finishes {finished[-1]:.2f} s"
        )
    _until(lambda: _tried(lambda: served.request("/prompt")["exec_info"]["queue_remaining"] == 0))
    history = served.request("/history?max_items=100000")
    return {
        "seconds_to_answer": _common.summary(answer),
        "seconds_to_finished": _common.summary(finished),
        "accepted": len(accepted),
        "lost": len(set(accepted) - set(history)),
        "refused": refused,
        "broken": broken,
    }


def _finish(served: Served) -> bool:
    id = served.request("/prompt", {"prompt": PROMPT})["prompt_id"]
    _until(lambda: _tried(lambda: id in served.request(f"/history/{id}")))
    return True


def _tried(attempt: Any) -> bool:
    try:
        return attempt()
    except (OSError, http.client.HTTPException):
        return False


def _until(condition: Any) -> None:
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > LIMIT:
            raise SystemExit(f"no recovery within {LIMIT:.0f} s")
        time.sleep(0.005)


def _alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


def _without(words: list[str], names: list[str]) -> list[str]:
    """Return arguments without those that ``serve`` sets, and without their values."""
    remaining, skip = [], False
    for word in words:
        if not skip and word not in names:
            remaining.append(word)
        skip = word in names
    return remaining


def _table(figures: dict[str, Any]) -> str:
    lines = [
        f"{'':9}{'answers':>9}{'max':>8}{'finishes':>10}{'max':>8}"
        f"{'accepted':>10}{'lost':>6}{'refused':>9}"
    ]
    for kind, result in figures["contenders"].items():
        answer, finished = result["seconds_to_answer"], result["seconds_to_finished"]
        lines.append(
            f"{kind:9}{answer['median']:7.2f} s{answer['max']:6.2f} s"
            f"{finished['median']:8.2f} s{finished['max']:6.2f} s"
            f"{result['accepted']:10}{result['lost']:6}{result['refused']:9}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

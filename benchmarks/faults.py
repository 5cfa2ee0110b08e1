"""Faults: a pack in its sandbox is killed, crashes, hangs, leaks memory and floods the log.

The worker is killed ``--repeats`` times at random times while prompts of the pack run; then each
fault of the pack runs several times. ``/health/live`` is requested 20 times a second. Every
accepted prompt must end once, the server must respond, and its memory must not grow.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import _common
import psutil

FAULTS = ("segfault", "abort", "exit", "loop", "loop_with_the_gil", "leak", "flood")
POLICY = """
[packs.faults]
silent_seconds = 2
call_seconds = 4
memory = 1
"""
LIMIT = 120.0
"""Time limit in seconds, after which a prompt counts as lost."""
MIB = 2**20


def main(argv: list[str]) -> int:
    """Run all faults; return exit code 0 if no prompt was lost and the server always responded."""
    parser = _common.parser(__doc__ or "", repeats=1000)
    parser.add_argument(
        "--each", type=int, default=10, help="repetitions of each fault of the pack"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the random times")
    options = parser.parse_args(argv)
    _common.load_pack()
    from zimage_comfyui.cli.server import Server

    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        packs = Path(folder) / "packs"
        packs.mkdir()
        (packs / "faults").symlink_to(_common.pack_dir() / "benchmarks" / "_faults")
        policy = Path(folder) / "server" / "user" / "__zimage" / "sandbox.toml"
        policy.parent.mkdir(parents=True)
        policy.write_text(POLICY)
        paths = Path(folder) / "paths.json"
        paths.write_text(json.dumps({"bench": {"custom_nodes": str(packs)}}))  # JSON is YAML
        arguments = ("--extra-model-paths-config", str(paths))
        host, pack = _common.the_host(), _common.pack_dir()
        env = {**os.environ, "ZIMAGE_SANDBOX": "strict"}
        with Server(host, pack, Path(folder) / "server", arguments, env=env) as server:
            figures = Campaign(server, random.Random(options.seed)).run(options)
    code = _common.finish("faults", options, figures, _table(figures))
    return code or int(bool(figures["lost"] or figures["silent_seconds"] > 5))


class Campaign:
    """The faults on a server, and the response times of its health check."""

    def __init__(self, server: Any, dice: random.Random) -> None:
        self.server = server
        self.dice = dice
        self.process = psutil.Process(server.process.pid)
        self.waits = [0.0]
        self.over = threading.Event()

    def run(self, options: Any) -> dict[str, Any]:
        """Run all faults; memory is read when the server is idle."""
        prober = threading.Thread(target=self._probe, daemon=True)
        self._work(0)
        before = self._settled()
        prober.start()
        ends = {"kill": self._killed(options.repeats)}
        for kind in FAULTS:
            _common.say(kind)
            ends[kind] = [self._fault(kind, number) for number in range(options.each)]
        self.over.set()
        prober.join()
        after = self._settled()
        counted = {kind: _counted(results) for kind, results in ends.items()}
        return {
            "ends": counted,
            "lost": sum(counts.get("lost", 0) for counts in counted.values()),
            "silent_seconds": round(max(self.waits), 3),
            "median_answer_ms": round(statistics.median(self.waits) * 1e3, 1),
            "rss_mib": {"before": before, "after": after},
            "descriptors": self.process.num_fds(),
            "children": len(self.process.children(recursive=True)),
        }

    def _probe(self) -> None:
        while not self.over.wait(0.05):
            began = time.monotonic()
            while self.server.client.request("/health/live")[0] != 200:
                pass
            self.waits.append(time.monotonic() - began)

    def _settled(self) -> float:
        time.sleep(3)
        return round(self.process.memory_info().rss / MIB, 1)

    def _killed(self, times: int) -> list[str]:
        ends = []
        for number in range(times):
            prompt = self._submit(_work(number + 1))
            time.sleep(self.dice.uniform(0, 0.4))
            if (pid := self._pid()) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            ends.append(self._end(prompt))
            self._lift()
            if number % 50 == 49:
                _common.say(f"{number + 1}/{times}")
        return ends

    def _work(self, seed: int) -> str:
        return self._end(self._submit(_work(seed)))

    def _fault(self, kind: str, seed: int) -> str:
        inputs = {"kind": kind, "seed": seed}
        end = self._end(self._submit({"1": {"class_type": "FaultsFault", "inputs": inputs}}))
        self._lift()
        return end if self._work(10**6 + hash((kind, seed)) % 10**6) == "success" else "stayed"

    def _pid(self) -> int | None:
        packs = self.server.client.get("/health").get("sandboxes", {}).get("packs", {})
        return packs.get("faults", {}).get("pid")

    def _lift(self) -> None:
        self.server.client.request("/zimage/sandbox/lift", {"pack": "faults"})

    def _submit(self, graph: dict[str, Any]) -> str:
        status, answer = self.server.client.submit(graph)
        if status != 200:
            raise RuntimeError(f"{status} {answer}")
        return answer["prompt_id"]

    def _end(self, prompt: str) -> str:
        """Wait for a prompt; return ``success``, the code of its error, or ``lost``."""
        give_up = time.monotonic() + LIMIT
        while time.monotonic() < give_up:
            entry = self.server.client.get(f"/history/{prompt}").get(prompt)
            if entry is None:
                time.sleep(0.01)
                continue
            for kind, data in entry["status"]["messages"]:
                if kind == "execution_error":
                    return data["exception_message"].partition("]")[0].lstrip("[")[:40]
            return entry["status"]["status_str"]
        return "lost"


def _work(seed: int) -> dict[str, Any]:
    empty = {"width": 512, "height": 512, "batch_size": 1, "color": 0x336699}
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "FaultsWork", "inputs": {"image": ["1", 0], "seed": seed}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def _counted(ends: list[str]) -> dict[str, int]:
    return {end: ends.count(end) for end in sorted(set(ends))}


def _table(figures: dict[str, Any]) -> str:
    lines = [
        f"{kind:18} {', '.join(f'{count} {end}' for end, count in ends.items())}"
        for kind, ends in figures["ends"].items()
    ]
    rss = figures["rss_mib"]
    lines += [
        "",
        f"lost {figures['lost']}; longest wait for an answer {figures['silent_seconds']} s, median "
        f"{figures['median_answer_ms']} ms; server {rss['before']} -> {rss['after']} MiB",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

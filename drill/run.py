"""Run rounds of faults on a server under load, and check the results of all prompts."""

from __future__ import annotations

import hashlib
import json
import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .faults import FAULTS, Skipped
from .faults.base import TEMPLATE
from .load import Load
from .stage import Stage


@dataclass
class DrillReport:
    """Results of a drill.

    Attributes:
        seconds: duration of each round of a fault, until the server had recovered.
        broken: fault and message, one for each violated invariant.
        accepted: number of the load's prompts with a response 200.
        lost: ids of accepted prompts without their own result.
        doubled: ids of prompts that ended more than once, also those of the faults.
        skipped: fault and the reason why this machine cannot run it.
        refused: times at which a connection was refused.
        disconnected: requests of the load whose connection closed before a response.
        servers: number of server processes that were started.
        same_bytes: whether a picture had the same bytes before and after the drill.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    broken: list[tuple[str, str]] = field(default_factory=list)
    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    disconnected: int = 0
    servers: int = 0
    same_bytes: bool = False

    @property
    def ok(self) -> bool:
        """Whether every invariant held."""
        violations = self.broken or self.lost or self.doubled or self.refused
        return not violations and self.same_bytes

    def document(self) -> dict[str, Any]:
        """Return the JSON document of ``--json``."""
        return {
            "ok": self.ok,
            "faults": {
                name: {"rounds": len(all), "median_seconds": round(statistics.median(all), 2)}
                for name, all in self.seconds.items()
            },
            "broken": [{"fault": name, "what": what} for name, what in self.broken],
            "promised": self.accepted,
            "lost": self.lost,
            "doubled": self.doubled,
            "skipped": self.skipped,
            "refused": self.refused,
            "hung_up": self.disconnected,
            "servers": self.servers,
            "same_bytes": self.same_bytes,
        }


def order(names: Sequence[str], rounds: int, rng: random.Random) -> Iterator[str]:
    """Yield the fault of each round: all faults in random order, again and again."""
    count = 0
    while count < rounds:
        for name in rng.sample(names, len(names)):
            if count < rounds:
                yield name
            count += 1


def run(
    stage: Stage, names: Sequence[str], rounds: int, seed: int, progress: Callable[[str], None]
) -> DrillReport:
    """Run ``rounds`` faults on a started stage.

    Args:
        stage: guardian and server.
        names: keys of :data:`FAULTS`.
        rounds: number of faults.
        seed: seed of order and details of the faults.
        progress: gets a line of text after each round.
    """
    report = DrillReport()
    rng = random.Random(seed)
    stage.settle()
    before = picture(stage)
    load = Load(stage)
    load.start()
    for number, name in enumerate(order(names, rounds, rng), 1):
        time.sleep(rng.random() * 0.3)
        state = _round(stage, name, rng, report)
        progress(f"{number}/{rounds} {name}: {report.seconds[name][-1]:.1f} s {state}")
    load.done.set()
    load.join()
    report.accepted = len(load.accepted)
    report.refused = load.refused
    report.disconnected = load.disconnected
    report.lost = load.lost_prompts()
    report.doubled = doubled(stage.log("core.jsonl"))
    report.servers = len(stage.pids("starting a server"))
    report.same_bytes = picture(stage) == before
    return report


def _round(stage: Stage, name: str, rng: random.Random, report: DrillReport) -> str:
    """Run one fault and add its results to the report; return a message, empty for success."""
    began = time.monotonic()
    try:
        FAULTS[name](stage, rng)
    except Skipped as reason:
        report.skipped[name] = str(reason)
    except Exception as error:  # noqa: BLE001 - any error is a violated invariant
        report.broken.append((name, f"{type(error).__name__}: {error}"[:300]))
        if stage.process is None or stage.process.poll() is not None:
            stage.start()
    report.seconds[name].append(time.monotonic() - began)
    if report.broken and report.broken[-1][0] == name:
        return report.broken[-1][1]
    return report.skipped.get(name, "")


def doubled(lines: Sequence[str]) -> list[str]:
    """Return the ids of prompts with several ends in ``core.jsonl``.

    When a process dies before the end of a prompt is on disk, the prompt runs again and its client
    may get a second message. The line of the log is written after the end is on disk, so a prompt
    has only one line.
    """
    ends = Counter(json.loads(line)["request_id"] for line in lines)
    return [id for id, count in ends.items() if count > 1]


def picture(stage: Stage) -> str:
    """Return the SHA-256 of the picture of a bundled template, or an error message."""
    graph = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    result = stage.client.run(graph)
    if not result.succeeded:
        return f"failed: {result.error}"
    return hashlib.sha256(stage.client.view(result.images[0])).hexdigest()

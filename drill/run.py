"""Rounds of faults, the load beside them, and what is left of the promises in the end."""

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
from .stage import Load, Stage


@dataclass
class Report:
    """What a drill has found.

    Attributes:
        seconds: how long each round of a fault took, until everything was as before.
        broken: fault and what was wrong, one for each broken invariant.
        promised: prompts of the load that were answered with 200.
        lost: those of them without their own result.
        doubled: prompts that have ended more than once, the load's and those of the faults.
        skipped: fault and why this machine cannot have it.
        refused: moments at which a connection was refused.
        hung_up: requests of the load that a dying server took with it before it had promised.
        servers: how many servers were started.
        same_bytes: the same picture at the beginning and in the end.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    broken: list[tuple[str, str]] = field(default_factory=list)
    promised: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    hung_up: int = 0
    servers: int = 0
    same_bytes: bool = False

    @property
    def ok(self) -> bool:
        """Whether every invariant held."""
        wrong = self.broken or self.lost or self.doubled or self.refused
        return not wrong and self.same_bytes

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "ok": self.ok,
            "faults": {
                name: {"rounds": len(all), "median_seconds": round(statistics.median(all), 2)}
                for name, all in self.seconds.items()
            },
            "broken": [{"fault": name, "what": what} for name, what in self.broken],
            "promised": self.promised,
            "lost": self.lost,
            "doubled": self.doubled,
            "skipped": self.skipped,
            "refused": self.refused,
            "hung_up": self.hung_up,
            "servers": self.servers,
            "same_bytes": self.same_bytes,
        }


def order(names: Sequence[str], rounds: int, dice: random.Random) -> Iterator[str]:
    """Every fault as often as any other, in a new order each time around."""
    done = 0
    while done < rounds:
        for name in dice.sample(names, len(names)):
            if done < rounds:
                yield name
            done += 1


def run(
    stage: Stage, names: Sequence[str], rounds: int, seed: int, tell: Callable[[str], None]
) -> Report:
    """Do ``rounds`` faults to a stage that runs."""
    report, dice = Report(), random.Random(seed)
    stage.settle()
    before = picture(stage)
    load = Load(stage)
    load.start()
    for number, name in enumerate(order(names, rounds, dice), 1):
        time.sleep(dice.random() * 0.3)
        began = time.monotonic()
        try:
            FAULTS[name](stage, dice)
        except Skipped as why:
            report.skipped[name] = str(why)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            report.broken.append((name, f"{type(error).__name__}: {error}"[:300]))
            if stage.process is None or stage.process.poll() is not None:
                stage.start()
        report.seconds[name].append(time.monotonic() - began)
        state = report.skipped.get(name, "")
        if report.broken and report.broken[-1][0] == name:
            state = report.broken[-1][1]
        tell(f"{number}/{rounds} {name}: {report.seconds[name][-1]:.1f} s {state}")
    load.done.set()
    load.join()
    report.promised, report.refused, report.hung_up = len(load.promised), load.refused, load.broken
    report.lost = load.broken_promises()
    report.doubled = doubled(stage.log("core.jsonl"))
    report.servers = len(stage.pids("starting a server"))
    report.same_bytes = picture(stage) == before
    return report


def doubled(lines: Sequence[str]) -> list[str]:
    """Prompts with several ends in ``core.jsonl``.

    A prompt may run again, and its client may hear of its end again, when a process dies before
    the first end is on disk. A line is written after that, so there is never a second one.
    """
    ends = Counter(json.loads(line)["request_id"] for line in lines)
    return [id for id, count in ends.items() if count > 1]


def picture(stage: Stage) -> str:
    """Digest of the pixels' file that a template of the pack makes, with its own seed."""
    graph = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    done = stage.client.run(graph)
    if not done.succeeded:
        return f"failed: {done.error}"
    return hashlib.sha256(stage.client.view(done.images[0])).hexdigest()

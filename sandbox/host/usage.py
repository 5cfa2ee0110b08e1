"""What a worker takes of the machine, as ``/proc`` shows it, and when that is too much."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

MIB = 2**20
LEAK_BYTES = 512 * MIB
"""A worker whose memory has grown by this, with each of so many readings, begins anew."""
READINGS = 8
MOST_PROCESSES = 10_000


@dataclass(frozen=True)
class Use:
    """What a worker and its children take.

    Attributes:
        private: bytes of anonymous memory. A fork begins with those of the template, which it
            shares until it writes into them: compare with the first reading.
        tasks: threads of all of its processes.
        shared: bytes of memory that processes may share, counted in each.
    """

    private: int
    tasks: int
    shared: int = 0


def use_of(pid: int) -> Use:
    """What a process and its children take now; nothing if there is none."""
    private = tasks = shared = 0
    for one in _family(pid):
        with contextlib.suppress(OSError, ValueError):
            status = Path(f"/proc/{one}/status").read_text(errors="replace")
            private += 1024 * _field(status, "RssAnon")
            shared += 1024 * _field(status, "RssShmem")
            tasks += _field(status, "Threads")
    return Use(private, tasks, shared)


def shared_of(pid: int) -> int:
    """Bytes of shared memory of a process and its children: a page that n processes have counts
    for one n-th in each. This takes milliseconds."""
    found = 0
    for one in _family(pid):
        with contextlib.suppress(OSError, ValueError):
            text = Path(f"/proc/{one}/smaps_rollup").read_text(errors="replace")
            found += 1024 * _field(text, "Pss_Shmem")
    return found


def _field(status: str, name: str) -> int:
    line = status.partition(f"\n{name}:")[2].partition("\n")[0]
    return int(line.split()[0]) if line.split() else 0


def _family(pid: int) -> list[int]:
    """A process and those below it, as many as may be there while they come and go."""
    found, open_ends = [pid], [pid]
    while open_ends and len(found) < MOST_PROCESSES:
        parent = open_ends.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(one) for one in task.read_text().split()]
                found += children
                open_ends += children
    return found


@dataclass
class Slope:
    """Private memory of one process between calls."""

    readings: deque[int] = field(default_factory=lambda: deque(maxlen=READINGS))
    calls: int = 0

    def add(self, private: int, calls: int) -> None:
        """A reading while no call is running; it counts if there was one since the last."""
        if calls != self.calls or not self.readings:
            self.calls = calls
            self.readings.append(private)

    def leaks(self) -> bool:
        """Whether all of the last readings rose, by :data:`LEAK_BYTES` together.

        What is loaded once and kept, such as a model, is one step.
        """
        rising = list(self.readings)
        return (
            len(rising) == READINGS
            and rising[-1] - rising[0] > LEAK_BYTES
            and all(later - sooner > MIB for sooner, later in pairwise(rising))
        )

"""Memory and tasks of a worker as ``/proc`` shows them, and their limits."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ...errors.bilingual import Bilingual
from ..policy.policy import GIB

MIB = 2**20
LEAK_BYTES = 512 * MIB
"""A worker leaks if its memory has grown by this over all measurements, and with each of them."""
READINGS = 8
MAX_PROCESSES = 10_000


@dataclass(frozen=True)
class Usage:
    """What a worker and its child processes use.

    Attributes:
        private: bytes of anonymous memory. A new worker shares those of the template until it
            writes to them: compare with the first measurement.
        tasks: threads of all processes.
        shared: bytes of memory that processes may share, counted once in each process.
    """

    private: int
    tasks: int
    shared: int = 0


def measure(pid: int) -> Usage:
    """Return what a process and its children use; nothing if the process has ended."""
    private = tasks = shared = 0
    for member in _family(pid):
        with contextlib.suppress(OSError, ValueError):
            status = Path(f"/proc/{member}/status").read_text(errors="replace")
            private += 1024 * _field(status, "RssAnon")
            shared += 1024 * _field(status, "RssShmem")
            tasks += _field(status, "Threads")
    return Usage(private, tasks, shared)


def shared_bytes(pid: int) -> int:
    """Return the shared memory of a process and its children.

    A page that n processes share counts for one n-th in each. Reading this takes milliseconds.
    """
    total = 0
    for member in _family(pid):
        with contextlib.suppress(OSError, ValueError):
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text(errors="replace")
            total += 1024 * _field(rollup, "Pss_Shmem")
    return total


def excess(
    usage: Usage, own_bytes: int, memory_gib: float, tasks: int, shared: Callable[[], int]
) -> Bilingual | None:
    """Return how the limits are exceeded, for a person; None if they are not.

    Args:
        usage: the measurement.
        own_bytes: private memory without that of the template.
        memory_gib: limit of the memory, 0 for none.
        tasks: limit of threads and processes, 0 for none.
        shared: measures shared memory exactly; called only if it decides.
    """
    limit = memory_gib * GIB
    total = own_bytes
    if limit and own_bytes + usage.shared > limit:
        total += min(usage.shared, shared())
    if limit and total > limit:
        used = f"{total / GIB:.1f}"
        granted = f"{memory_gib:g}"
        return Bilingual(
            f"用了 {used} GiB 内存，允许 {granted} GiB",
            f"{used} GiB of memory, {granted} are granted",
        )
    if tasks and usage.tasks > tasks:
        return Bilingual(
            f"有 {usage.tasks} 个线程和进程，允许 {tasks} 个",
            f"{usage.tasks} threads and processes, {tasks} are granted",
        )
    return None


def _field(status: str, name: str) -> int:
    line = status.partition(f"\n{name}:")[2].partition("\n")[0]
    return int(line.split()[0]) if line.split() else 0


def _family(pid: int) -> list[int]:
    """Return a process and its descendants; they may start and end meanwhile."""
    family = [pid]
    unvisited = [pid]
    while unvisited and len(family) < MAX_PROCESSES:
        parent = unvisited.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(child) for child in task.read_text().split()]
                family += children
                unvisited += children
    return family


@dataclass
class LeakDetector:
    """Compares the private memory of one process between calls."""

    readings: deque[int] = field(default_factory=lambda: deque(maxlen=READINGS))
    calls: int = 0

    def add(self, private: int, calls: int) -> None:
        """Add a measurement while no call runs; it counts if a call has ended since the last.

        Args:
            private: bytes of private memory.
            calls: calls that have ended.
        """
        if calls != self.calls or not self.readings:
            self.calls = calls
            self.readings.append(private)

    def leaks(self) -> bool:
        """Return whether memory grew with all of the last measurements, by :data:`LEAK_BYTES`.

        Something that is loaded once and stays, such as a model, is a single step.
        """
        readings = list(self.readings)
        return (
            len(readings) == READINGS
            and readings[-1] - readings[0] > LEAK_BYTES
            and all(later - sooner > MIB for sooner, later in pairwise(readings))
        )

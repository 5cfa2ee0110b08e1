"""What a worker takes of the machine, and what is a leak."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from zimage_comfyui.sandbox.host.usage import (
    LEAK_BYTES,
    READINGS,
    LeakDetector,
    measure,
    shared_bytes,
)
from zimage_comfyui.tests.fakes.waiting import wait


def test_shared_memory_is_seen() -> None:
    """What a process shares with its children counts once."""
    code = (
        "import mmap, os, time; memory = mmap.mmap(-1, 64 * 2**20);"
        "[memory.__setitem__(i, 1) for i in range(0, len(memory), 4096)];"
        "pid = os.fork(); [memory[i] for i in range(0, len(memory), 4096)];"
        "print(flush=True); time.sleep(600 if pid else 590)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        wait(lambda: measure(parent.pid).shared >= 128 * 2**20)
        found = shared_bytes(parent.pid)
        os.killpg(parent.pid, signal.SIGKILL)
    assert 64 * 2**20 <= found < 100 * 2**20


def test_use_counts_children() -> None:
    """Threads of a process and of those below it."""
    # In a family that nothing else joins or leaves.
    words = ["sh", "-c", "sleep 600 & sleep 600 & wait"]
    with subprocess.Popen(words, start_new_session=True) as parent:
        wait(lambda: measure(parent.pid).tasks == 3)
        os.killpg(parent.pid, signal.SIGKILL)
    assert measure(os.getpid()).private > 2**20


def test_measure_nobody_is_nothing() -> None:
    """A process may end while it is looked at."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert measure(child.pid).tasks == 0


def test_memory_that_rises_with_every_call_is_a_leak() -> None:
    """A model that is loaded once is not."""
    leak, model = LeakDetector(), LeakDetector()
    for number in range(READINGS):
        leak.add(number * LEAK_BYTES // 4, number)
        model.add(0 if number < 3 else 8 * LEAK_BYTES, number)
    assert leak.leaks()
    assert not model.leaks()


def test_readings_without_a_call_between_them_count_once() -> None:
    """Time alone is no call."""
    slope = LeakDetector()
    for number in range(100):
        slope.add(number * LEAK_BYTES, 1)
    assert len(slope.readings) == 1

"""Threads of a process share one heap where that was asked for before they began."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from zimage_comfyui.patches import ram
from zimage_comfyui.tests.fakes import heaps

PROGRAM = """
import ctypes, importlib.util, sys, threading
spec = importlib.util.spec_from_file_location("ram", sys.argv[1])
ram = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ram)
print(sys.argv[2] == "ask" and ram.one_heap())
malloc = ctypes.CDLL(None).malloc
thread = threading.Thread(target=malloc, args=(100_000,))
thread.start()
thread.join()
print(open("/proc/self/maps").read())
"""


def run(what: str, **env: str) -> tuple[str, int]:
    """Whether a new process has one heap, as it says; how many heaps of threads there are."""
    command = [sys.executable, "-c", PROGRAM, str(ram.__file__), what]
    env = {name: text for name, text in os.environ.items() if "MALLOC" not in name} | env
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    said, _, maps = done.stdout.partition("\n")
    return said, len(list(heaps.of_threads(maps)))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_threads_share_the_heap_when_asked() -> None:
    """Else each has its own."""
    assert run("ask") == ("True", 0)
    assert run("leave") == ("False", 1)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_the_operators_number_stays() -> None:
    """It is what the environment says."""
    assert run("ask", MALLOC_ARENA_MAX="4") == ("False", 1)


def test_other_systems_have_one_anyway(monkeypatch) -> None:
    """There is no such function."""
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setattr(ram.ctypes, "CDLL", lambda _name: object())
    assert ram.one_heap() is False

"""Threads of a process share one heap where that was asked for before they began."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from zimage_comfyui.patches.base import ram
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


GIB = 2**30
STATISTICS = """anon 1073741824
{0}active_file 536870912
{0}inactive_file 536870912
shmem 4096
"""


def container(folder: Path, limit: str, usage: str | None, version: int) -> None:
    """Write the files of a container's cgroup."""
    names = ("memory.max", "memory.current", "memory.stat")
    if version == 1:
        folder /= "memory"
        folder.mkdir()
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    (folder / names[0]).write_text(limit + "\n")
    if usage is not None:
        (folder / names[1]).write_text(usage + "\n")
        prefix = "total_" if version == 1 else ""
        (folder / names[2]).write_text(STATISTICS.format(prefix))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with 64 GiB to be had; the folder of its cgroup, which is empty."""
    memory = SimpleNamespace(available=64 * GIB, total=64 * GIB)
    monkeypatch.setattr(ram.psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(ram, "CGROUP", tmp_path)
    monkeypatch.setattr(ram, "resident", lambda: GIB)
    return tmp_path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("limit", "usage", "expected"),
    [
        (8 * GIB, 5 * GIB, 4 * GIB),  # 1 GiB of what is used are pages of files
        (8 * GIB, 10 * GIB, 0),
        (100 * GIB, 5 * GIB, 64 * GIB),
        (8 * GIB, None, 7 * GIB),
    ],
)
def test_all_processes_of_a_container_count(
    machine: Path, version: int, limit: int, usage: int | None, expected: int
) -> None:
    """Headroom is the limit minus what the container uses, but for reclaimable pages of files."""
    container(machine, str(limit), None if usage is None else str(usage), version)
    assert ram.available() == expected


@pytest.mark.parametrize(("limit", "version"), [("max", 2), (str(2**63 - 4096), 1)])
def test_a_container_without_a_limit_has_what_the_machine_has(
    machine: Path, limit: str, version: int
) -> None:
    """What it uses is part of what the machine has in use."""
    container(machine, limit, str(5 * GIB), version)
    assert ram.available() == 64 * GIB

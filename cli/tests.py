"""``test``: pytest in the private environment, over everything that needs no GPU."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import psutil

from ..config import PACK_DIR, Settings
from . import hostsuite
from .server import host_environment

HOST_SUITE = "--host-suite"
"""As the first argument: ComfyUI's own tests instead of ours."""
COVERAGE = "--coverage"
"""Among the arguments: print the branch coverage and the slowest tests."""
COVERAGE_OPTIONS = ("--cov", "--cov-report=term", "--durations=20")
NO_FLOOR = "--cov-fail-under=0"
"""For a part of the tests: the floor in pyproject.toml is for all of them."""
MAX_WORKERS = 4
"""Files tested at the same time when the whole suite runs; each may start a ComfyUI of its own."""
WORKER_BYTES = 4 * 2**30
"""Memory for each worker: a guardian's server and its standby take half of it."""


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Replace this process by pytest; its exit code 5 (nothing selected) stays as it is."""
    if options.rest[:1] == [HOST_SUITE]:
        return hostsuite.run(options.rest[1:], settings)
    # The script, not `python -m pytest`: that would put this folder on sys.path, where nodes/
    # hides the host's nodes.py.
    pytest = Path(sys.executable).parent / "pytest"
    env = host_environment()
    cpus = len(os.sched_getaffinity(0))
    is_part = any(word != COVERAGE for word in options.rest)
    workers = 1 if is_part else worker_count(cpus, psutil.virtual_memory().total)
    env.setdefault("OMP_NUM_THREADS", str(max(1, cpus // workers)))
    arguments = pytest_arguments(options.rest, workers)
    os.chdir(PACK_DIR)
    os.execve(str(pytest), [str(pytest), *arguments], env)  # noqa: S606


def worker_count(cpus: int, memory: int) -> int:
    """Return how many processes run tests: one more than processors, as tests of servers wait.

    Args:
        cpus: that this process can use.
        memory: of the machine, in bytes.
    """
    return max(1, min(cpus + 1, memory // WORKER_BYTES, MAX_WORKERS))


def pytest_arguments(words: list[str], workers: int) -> list[str]:
    """Return the arguments for pytest.

    Args:
        words: the arguments of ``./zimage test``.
        workers: processes that run tests.
    """
    arguments: list[str] = []
    further = [word for word in words if word != COVERAGE]
    if COVERAGE in words:
        arguments += COVERAGE_OPTIONS
        if further:
            arguments.append(NO_FLOOR)
    arguments += [_from_here(word) for word in further]
    if workers > 1:
        arguments += ["--numprocesses", str(workers), "--dist", "loadfile"]
    return arguments


def _from_here(word: str) -> str:
    """Return a path relative to the caller's folder as an absolute one, other words unchanged."""
    path = word.partition("::")[0]
    is_here = not word.startswith("-") and Path(path).exists() and not (PACK_DIR / path).exists()
    return str(Path.cwd() / word) if is_here else word

"""``test``: pytest in the private environment, over everything that needs no GPU."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..config import PACK_DIR, Settings
from . import hostsuite
from .server import host_environment

HOST_SUITE = "--host-suite"
"""As the first argument: ComfyUI's own tests instead of ours."""
MOST_WORKERS = 4
"""Files tested side by side when the whole suite runs; each may start a ComfyUI of its own."""


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Replaces this process by pytest; its exit code 5 (nothing selected) stays as it is."""
    if options.rest[:1] == [HOST_SUITE]:
        return hostsuite.run(options.rest[1:], settings)
    # The script, not `python -m pytest`: that would put this folder on sys.path, where nodes/
    # hides the host's nodes.py.
    pytest = Path(sys.executable).parent / "pytest"
    env = host_environment()
    cpus = len(os.sched_getaffinity(0))
    workers = 1 if options.rest else min(cpus, MOST_WORKERS)
    env.setdefault("OMP_NUM_THREADS", str(cpus // workers))
    arguments = [_from_here(word) for word in options.rest]
    if workers > 1:
        arguments += ["--numprocesses", str(workers), "--dist", "loadfile"]
    os.chdir(PACK_DIR)
    os.execve(str(pytest), [str(pytest), *arguments], env)  # noqa: S606


def _from_here(word: str) -> str:
    """A path given relative to the caller's folder, made absolute."""
    path = word.partition("::")[0]
    here = not word.startswith("-") and Path(path).exists() and not (PACK_DIR / path).exists()
    return str(Path.cwd() / word) if here else word

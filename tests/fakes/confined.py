"""Has ``jailed.py`` try things in a process that confines itself; says what stopped each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.sandbox import confinement
from zimage_comfyui.sandbox.confinement import numbers

FAKES = Path(__file__).resolve().parent
OFFER = confinement.probe()
MB = 2**20
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the mechanisms")


def needs_landlock(version: int):
    """For tests of what this version of Landlock brought."""
    found = OFFER["landlock"]
    return pytest.mark.skipif(found < version, reason=f"Landlock {version} needed, {found} found")


needs_seccomp = pytest.mark.skipif(
    not OFFER["seccomp"] or numbers.machine() not in numbers.ARCHITECTURES,
    reason="no system call filters on this machine",
)
needs_x86 = pytest.mark.skipif(numbers.machine() != "x86_64", reason="calls of x86 by number")
needs_root = pytest.mark.skipif(OFFER["user"] != 0, reason="what only root could do otherwise")


def run(order: dict, environment: dict[str, str] | None = None, **options):
    """The process's word, or the signal that ended it."""
    done = subprocess.run(
        [sys.executable, "-I", str(FAKES / "jailed.py"), json.dumps(order)],
        env=environment or {"PATH": os.defpath, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=120,
        check=False,
        **options,
    )
    if done.returncode < 0:
        return signal.Signals(-done.returncode)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def attempt(jail: dict | None, name: str, *arguments, **order):
    """What became of one act: its value, an errno, or the signal that ended the process."""
    said = run({"jail": jail, "acts": [[name, *arguments]], **order})
    if isinstance(said, signal.Signals):
        return said
    assert all(one["state"] == "applied" for one in said["report"].values()), said["report"]
    return result(said["acts"][0])


def result(act: dict):
    """("done", value), an errno, or the name of an exception that has none."""
    return ("done", act["value"]) if "value" in act else act["errno"] or act["error"]


def several(jail: dict | None, acts: list[list], **order) -> list:
    """What became of acts in one process."""
    said = run({"jail": jail, "acts": acts, **order})
    assert not isinstance(said, signal.Signals), said
    return [result(act) for act in said["acts"]]


def stopped(name: str, *arguments, by, jail: dict | None = None, **order) -> None:
    """The act is possible outside a jail and fails in it as said."""
    free = attempt(None, name, *arguments)
    assert isinstance(free, tuple), f"{name} is impossible anyway: {free}"
    assert attempt(jail or {}, name, *arguments, **order) == by

"""Benchmarks that start servers run from end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def run(host, pack_dir: Path, name: str, *arguments: str) -> dict[str, Any]:
    """The document of one benchmark, which is all there is on standard output."""
    env = os.environ | {"ZIMAGE_COMFYUI_DIR": str(host.path), "ZIMAGE_PACK_DIR": str(pack_dir)}
    command = [sys.executable, str(pack_dir / "benchmarks" / f"{name}.py"), *arguments, "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert str(host.path) not in done.stdout
    return json.loads(done.stdout)


def test_turbo_compares_equal_pictures(host, pack_dir: Path):
    """All three make the same picture."""
    result = run(host, pack_dir, "turbo", "--tiny", "--repeats", "1")
    assert set(result["contenders"]) == {"nodes", "host", "diffusers"}
    assert result["largest_difference"] <= 1
    assert all(one["seconds"]["median"] > 0 for one in result["contenders"].values())


def test_overhead_compares_all_parts_with_none(host, pack_dir: Path):
    """Both kinds of prompt succeed on both servers, beside this disk's ``fsync``."""
    result = run(host, pack_dir, "overhead", "--repeats", "1")
    for prompt in ("trivial", "turbo"):
        assert result["prompts"][prompt]["ratio"]["median"] > 0
    assert len(result["fsync_ms"]["values"]) >= 200


def test_submissions_compares_rates(host, pack_dir: Path):
    """Every submission is accepted by both servers, from many connections and from one."""
    result = run(host, pack_dir, "submissions", "--repeats", "1", "--count", "50")
    for connections in ("16", "1"):
        assert result["connections"][connections]["ratio"]["median"] > 0


def test_recovery_loses_nothing(host, pack_dir: Path):
    """A server that is killed comes back with what it had accepted."""
    result = run(host, pack_dir, "recovery", "--repeats", "1", "--kinds", "guardian")
    found = result["contenders"]["guardian"]
    assert found["accepted"] > 0
    assert found["lost"] == 0

"""The picture benchmark runs from end to end with the smallest models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_turbo_compares_equal_pictures(host, pack_dir: Path):
    """All three make the same picture, and the JSON document is all there is on standard output."""
    env = os.environ | {"ZIMAGE_COMFYUI_DIR": str(host.path), "ZIMAGE_PACK_DIR": str(pack_dir)}
    command = [sys.executable, str(pack_dir / "benchmarks" / "turbo.py")]
    done = subprocess.run(
        [*command, "--tiny", "--repeats", "1", "--json"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert set(result["contenders"]) == {"nodes", "host", "diffusers"}
    assert result["largest_difference"] <= 1
    assert all(one["seconds"]["median"] > 0 for one in result["contenders"].values())
    assert str(host.path) not in done.stdout

"""``check``: lint, format, types, layers and spelling, in seconds."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..config import PACK_DIR, Settings
from .terminal import DONE, FAILED, result


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Runs every check, shows the output of those that fail, and tells how long each took."""
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        # import-linter needs an importable package: the fixed alias, as a link to this folder.
        (Path(scratch) / "zimage_comfyui").symlink_to(PACK_DIR, target_is_directory=True)
        for name, command in _commands().items():
            began = time.monotonic()
            done = subprocess.run(
                command,
                cwd=PACK_DIR,
                env={**os.environ, "PYTHONPATH": scratch},
                capture_output=True,
                text=True,
                check=False,
            )
            word = "通过 ok" if done.returncode == 0 else "失败 FAILED"
            result(f"{name:14} {word}  {time.monotonic() - began:.1f} s")
            if done.returncode:
                failed += 1
                result((done.stdout + done.stderr).rstrip())
    return FAILED if failed else DONE


def _commands() -> dict[str, list[str]]:
    tools = Path(sys.executable).parent
    return {
        "ruff": [str(tools / "ruff"), "check", "."],
        "ruff format": [str(tools / "ruff"), "format", "--check", "."],
        "basedpyright": [str(tools / "basedpyright"), "--pythonpath", sys.executable],
        "import-linter": [str(tools / "lint-imports"), "--no-cache"],
        "codespell": [str(tools / "codespell")],
    }

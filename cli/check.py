"""``check``: lint, format, types, layers and spelling, in seconds."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..config import PACK_DIR, Settings
from .terminal import DONE, FAILED, result


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Runs every check, shows the output of those that fail, and tells how long each took."""
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        # import-linter needs an importable package: the fixed alias, as a link to this folder.
        (Path(scratch) / "zimage_comfyui").symlink_to(PACK_DIR, target_is_directory=True)
        # PATH is emptied so that basedpyright finds no Python: with torch's own types it takes
        # three times as long and calls every attribute of a Module an error.
        env = {**os.environ, "PYTHONPATH": scratch, "PATH": ""}
        with ThreadPoolExecutor() as pool:
            jobs = {name: pool.submit(_check, line, env) for name, line in _commands().items()}
            for name, job in jobs.items():
                seconds, output = job.result()
                word = "通过 ok" if output is None else "失败 FAILED"
                result(f"{name:14} {word}  {seconds:.1f} s")
                if output is not None:
                    failed += 1
                    result(output)
    return FAILED if failed else DONE


def _check(command: list[str], env: dict[str, str]) -> tuple[float, str | None]:
    """Seconds it took, and its output if it failed."""
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=PACK_DIR, env=env, capture_output=True, text=True, check=False
    )
    output = (done.stdout + done.stderr).strip() if done.returncode else None
    return time.monotonic() - began, output


def _commands() -> dict[str, list[str]]:
    tools = Path(sys.executable).parent
    return {
        "ruff": [str(tools / "ruff"), "check", "."],
        "ruff format": [str(tools / "ruff"), "format", "--check", "."],
        "basedpyright": [str(tools / "basedpyright")],
        "import-linter": [str(tools / "lint-imports"), "--no-cache"],
        "codespell": [str(tools / "codespell")],
    }

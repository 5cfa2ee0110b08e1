"""``check``: lint, format, types, import boundaries and spelling, in seconds."""

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
from .terminal import DONE, FAILED, USAGE, Stop, result

CHECKS = {
    "ruff": ["ruff", "check", "."],
    "ruff-format": ["ruff", "format", "--check", "."],
    "basedpyright": ["basedpyright"],
    "import-linter": ["lint-imports", "--no-cache"],
    "codespell": ["codespell"],
    "parts-table": ["python", "-I", "cli/main.py", "parts"],
}
"""Command lines by name. ``.pre-commit-config.yaml`` runs the same checks."""


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run the checks and print the output of those that fail."""
    names = options.names or list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        raise Stop(USAGE, "ZI-CHECK-UNKNOWN", found=unknown[0], expected=", ".join(CHECKS))
    failures = 0
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        env = _environment(Path(scratch))
        jobs = {name: pool.submit(_run_tool, CHECKS[name], env) for name in names}
        for name, job in jobs.items():
            seconds, output = job.result()
            state = "通过 ok" if output is None else "失败 FAILED"
            result(f"{name:14} {state}  {seconds:.1f} s")
            if output is not None:
                failures += 1
                result(output)
    return FAILED if failures else DONE


def _environment(scratch: Path) -> dict[str, str]:
    """Return the environment for the tools."""
    # import-linter needs an importable package: the fixed alias, as a link to this folder.
    (scratch / "zimage_comfyui").symlink_to(PACK_DIR, target_is_directory=True)
    # PATH is empty so that basedpyright finds no Python. With torch's own types it takes three
    # times as long, and reports every attribute of a Module as an error.
    return {**os.environ, "PYTHONPATH": str(scratch), "PATH": ""}


def _run_tool(command: list[str], env: dict[str, str]) -> tuple[float, str | None]:
    """Run a tool of the private environment.

    Returns:
        The seconds that it took, and its output if it failed.
    """
    start = time.monotonic()
    tool = Path(sys.executable).parent / command[0]
    process = subprocess.run(
        [str(tool), *command[1:]],
        cwd=PACK_DIR,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    output = (process.stdout + process.stderr).strip() if process.returncode else None
    return time.monotonic() - start, output

"""``lock``: rewrites requirements.lock from pyproject.toml, without index addresses."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from ..config import PACK_DIR, Settings
from .terminal import DONE, FAILED


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Resolves for Python 3.11 to 3.13 on Linux; pins that still fit stay as they are."""
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "compile", "pyproject.toml", "--group", "host", "--group", "dev"]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    command += ["--custom-compile-command", "./zimage lock", "--output-file", "requirements.lock"]
    done = subprocess.run(command, cwd=PACK_DIR, check=False)
    return FAILED if done.returncode else DONE

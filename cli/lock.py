"""``lock``: update requirements.lock and the stored node classes, for maintainers."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from ..config import PACK_DIR, Settings
from ..validator import snapshot
from .host import discover
from .server import Server
from .terminal import DONE, FAILED


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Write ``requirements.lock`` with uv, then the node classes of the installed host.

    uv resolves for Python 3.11 and newer on Linux. It keeps each version in the file that still
    satisfies ``pyproject.toml``. The node classes come from a server that is started with the
    host of the command line, and are stored in ``validator/object_info.json.gz``.

    Returns:
        ``FAILED`` if uv failed, which then writes its own message.

    Raises:
        Stop: there is no host, or its server does not start.
    """
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "compile", "pyproject.toml", "--group", "host", "--group", "dev"]
    command += ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    command += ["--custom-compile-command", "./zimage lock", "--output-file", "requirements.lock"]
    process = subprocess.run(command, cwd=PACK_DIR, check=False)
    if process.returncode:
        return FAILED
    with Server(discover(settings, PACK_DIR), PACK_DIR) as server:
        snapshot.store(server.client.get("/object_info"))
    return DONE

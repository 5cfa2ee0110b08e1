"""The libraries that ``sandbox`` compares with, in their own environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from _common import say

PACKAGES = ("pyisolate==0.10.2", "comfy-env==0.4.46", "tomli", "tomli-w", "pip")
"""Installed without dependencies: torch, numpy, packaging and uv come from this environment."""
SECONDS = 300.0


def python(home: Path) -> Path:
    """Return a Python with these libraries and those of this one; install it if necessary.

    Raises:
        OSError: the installation failed, with the last line of ``uv``.
    """
    folder = home / "bench-sandbox" / "env"
    interpreter = folder / "bin" / "python"
    done = folder / "complete"
    if done.exists() and done.read_text() == _wanted():
        return interpreter
    say(f"installing {', '.join(PACKAGES)} into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--python", str(interpreter), "--no-deps", *PACKAGES)
    (site,) = folder.glob("lib/python*/site-packages")
    parent = sysconfig.get_path("purelib")
    (site / "_bench_parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    done.write_text(_wanted())
    return interpreter


def environment() -> dict[str, str]:
    """Return environment variables with which child processes find ``uv``."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


def _wanted() -> str:
    return "\n".join([*PACKAGES, sys.executable])


def _uv(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["uv", *arguments],  # noqa: S607  that of the environment, or the user's
            env=environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"uv {arguments[0]}: more than {SECONDS:.0f} s") from None
    if done.returncode:
        raise OSError((done.stderr.strip() or "uv failed").splitlines()[-1][:300])

"""The libraries that ``sandbox`` compares with, in an environment of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from _common import say

PACKAGES = ("pyisolate==0.10.2", "comfy-env==0.4.46", "tomli", "tomli-w", "pip")
"""Without their dependencies: torch, numpy, packaging and uv are those of the pack."""
SECONDS = 300.0


def python(home: Path) -> Path:
    """A Python that has them and everything of this one; made when there is none.

    Raises:
        OSError: it cannot be made, with the last line that ``uv`` wrote.
    """
    folder = home / "bench-sandbox" / "env"
    found = folder / "bin" / "python"
    done = folder / "complete"
    if done.exists() and done.read_text() == _wanted():
        return found
    say(f"installing {', '.join(PACKAGES)} into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--python", str(found), "--no-deps", *PACKAGES)
    (site,) = folder.glob("lib/python*/site-packages")
    parent = sysconfig.get_path("purelib")
    (site / "_bench_parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")
    done.write_text(_wanted())
    return found


def environment() -> dict[str, str]:
    """Variables with which ``uv`` is found by those who call it, too."""
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

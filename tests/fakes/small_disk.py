"""A disk that is small enough to fill, for tests that may mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs on a folder (made if missing) with mount options; skips where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, timeout=60).returncode:
        pytest.skip("mounting a small disk needs root / 挂载需要 root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=60)


def fill(folder: Path, leave: int, name: str = "ballast") -> Path:
    """A file that leaves so many bytes on its disk, rounded down to pages."""
    file = folder / name
    disk = os.statvfs(folder)
    with file.open("wb") as stream:
        for _ in range((disk.f_bavail * disk.f_frsize - leave) // 4096):
            stream.write(bytes(4096))
    return file

"""What the bootstrap reads is shipped; what the disk refuses ends in a sentence."""

from __future__ import annotations

import errno
import fcntl
import re
import shutil
from pathlib import Path

import pytest

from zimage_comfyui.cli import bootstrap, install
from zimage_comfyui.cli.terminal import LACKING, Stop
from zimage_comfyui.config import Settings

FULL = OSError(errno.ENOSPC, "No space left on device", "/home/x")
FULL_COPY = shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])
READ_ONLY = OSError(errno.EROFS, "Read-only file system", "/home/x")
BROKEN_COPY = shutil.Error([("a", "b", "[Errno 5] Input/output error: 'b'")])


def test_the_registry_ships_what_the_command_line_reads(pack_dir: Path) -> None:
    """Of all that ``cli`` opens in the pack's folder, only tests and benchmarks may be missing."""
    sources = "".join(file.read_text(encoding="utf-8") for file in (pack_dir / "cli").glob("*.py"))
    read = set(re.findall(r'(?:pack|PACK_DIR) / "([^"]+)"', sources))
    assert {"requirements.lock", "workflows", "cli"} <= read
    lines = (pack_dir / ".comfyignore").read_text(encoding="utf-8").splitlines()
    ignored = {line.strip("/") for line in lines if not line.startswith("#")}
    assert read & ignored <= {"benchmarks", "tests"}  # `bench` and `test` have nothing to run then


@pytest.mark.parametrize(
    ("error", "code", "found"),
    [
        (FULL, "ZI-ENV-SPACE", "GB"),
        (FULL_COPY, "ZI-ENV-SPACE", "GB"),
        (READ_ONLY, "ZI-ENV-HOME", "Read-only file system"),
        (BROKEN_COPY, "ZI-ENV-HOME", "Input/output error"),
    ],
)
def test_a_disk_that_refuses_is_the_machine_s_fault(
    tmp_path: Path,
    pack_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    code: str,
    found: str,
) -> None:
    """Exit code 3, with one reason instead of a list of thousands."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(bootstrap, "_make_env", lambda *_: None)
    monkeypatch.setattr(bootstrap, "_make_host", refuse)
    with pytest.raises(Stop, match=found) as stop:
        bootstrap.ensure(Settings(home=tmp_path), pack_dir)
    assert (stop.value.status, stop.value.code) == (LACKING, code)
    assert "('a', 'b'" not in str(stop.value)


def test_a_disk_without_locks_is_named(
    tmp_path: Path, pack_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems know no ``flock``."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Stop, match=r"ZI-ENV-HOME.*No locks available"):
        bootstrap.ensure(Settings(home=tmp_path), pack_dir)


def test_a_disk_too_full_for_the_home_itself(tmp_path: Path) -> None:
    """The free space is measured although the folder does not exist."""
    stop = install.obstacle(tmp_path / "not" / "there", FULL)
    assert stop.code == "ZI-ENV-SPACE"

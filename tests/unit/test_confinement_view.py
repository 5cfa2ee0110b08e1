"""What bubblewrap is asked to show: paths, their rights, and the links that lead there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from zimage_comfyui.sandbox.confinement import Jail, bubblewrap

needs_bubblewrap = pytest.mark.skipif(
    bubblewrap.available().state != "applied", reason=bubblewrap.available().reason
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """``all/code/own``, ``all/secret`` and a link to the code."""
    (tmp_path / "all" / "code" / "own").mkdir(parents=True)
    (tmp_path / "all" / "secret").write_text("secret")
    (tmp_path / "all" / "code" / "a.py").write_text("a")
    (tmp_path / "way").symlink_to("all")
    return tmp_path


def test_a_folder_that_may_be_written_in_one_that_may_be_read(tree: Path) -> None:
    """The outer comes first, so that the inner is not hidden by it; once each."""
    code, own = str(tree / "all" / "code"), str(tree / "all" / "code" / "own")
    found = bubblewrap.mounts([own, code, code], [own])
    assert found == ["--ro-bind", code, code, "--bind", own, own]


def test_what_may_be_read_in_a_folder_that_may_be_written(tree: Path) -> None:
    """It stays writable, as it is with Landlock."""
    code, own = str(tree / "all" / "code"), str(tree / "all" / "code" / "own")
    assert bubblewrap.mounts([own], [code]) == ["--bind", code, code]


def test_links_on_the_way(tree: Path) -> None:
    """What is asked for by a link is at its real place, and the link is there too; what is not
    there, and what bubblewrap makes itself, is left out."""
    code = str(tree / "all" / "code")
    found = bubblewrap.mounts([str(tree / "way" / "code"), str(tree / "none"), "/proc/self"], [])
    assert found == ["--ro-bind", code, code, "--symlink", "all", str(tree / "way")]


def test_links_that_lead_in_circles(tree: Path) -> None:
    """They end nowhere, and so does the search."""
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    assert "--bind" not in bubblewrap.mounts([str(tree / "a")], [])


@needs_bubblewrap
def test_the_view(tree: Path) -> None:
    """A program sees what is granted, by every name, may write where it may, and nothing else."""
    code = tree / "all" / "code"
    jail = Jail(read=(str(tree / "way" / "code"),), write=(str(code / "own"),))
    script = (
        f"cat {tree}/way/code/a.py; ls {tree}/all; touch {code}/own/made; touch {code}/refused;"
        "ls /proc | grep -c '^[0-9]'; ls / | grep -c home"
    )
    done = subprocess.run(
        [*bubblewrap.command(jail, str(code)), "sh", "-c", script],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    # Itself, its init, ls and grep.
    assert done.stdout.split("\n")[:1] == ["acode"], done
    assert int(done.stdout.split("\n")[1]) <= 5
    assert done.stdout.split("\n")[2] == "0"
    assert os.path.exists(code / "own" / "made")
    assert not os.path.exists(code / "refused")


def test_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says so, and what follows."""
    monkeypatch.setenv("PATH", str(tmp_path))
    bubblewrap.available.cache_clear()
    try:
        found = bubblewrap.available()
        assert found.state == "unavailable"
        assert "not installed" in found.reason
        assert found.gaps
        program = tmp_path / "bwrap"
        program.write_text("#!/bin/sh\necho no namespaces >&2\nexit 1\n")
        program.chmod(0o755)
        bubblewrap.available.cache_clear()
        found = bubblewrap.available()
        assert found.state == "failed"
        assert "no namespaces" in found.reason
        assert found.gaps
    finally:
        bubblewrap.available.cache_clear()

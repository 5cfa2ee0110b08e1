"""Which files a confined process reaches: real processes try them."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from zimage_comfyui.tests.fakes.confined import (
    OFFER,
    attempt,
    needs_landlock,
    needs_seccomp,
    only_linux,
    result,
    run,
    several,
    stopped,
)

pytestmark = only_linux


@needs_landlock(1)
def test_a_file_outside_is_neither_read_nor_changed(place: Path, jail: dict) -> None:
    """Landlock refuses reading, replacing, removing and listing."""
    secret = str(place / "secret")
    for name in ("read", "append"):
        stopped(name, secret, by=errno.EACCES, jail=jail, only="landlock")
    before = (place / "secret").read_bytes()
    acts = [["write", secret], ["unlink", secret], ["listing", str(place)]]
    assert several(jail, acts) == [errno.EACCES] * 3
    assert (place / "secret").read_bytes() == before


@needs_landlock(1)
def test_links_and_renames_lead_nowhere(place: Path, jail: dict) -> None:
    """A link that lies in a granted folder, new links, and moving in or out."""
    secret, inside = str(place / "secret"), str(place / "write" / "x")
    (place / "write" / "way").symlink_to(place / "secret")
    (place / "write" / "mine").write_text("mine")
    model, mine = str(place / "read" / "model"), str(place / "write" / "mine")
    way, theirs = str(place / "write" / "way"), str(place / "create" / "theirs")
    acts = [["symlink", target, str(place / "create" / "s")] for target in ("/etc/shadow", secret)]
    acts += [["read", way], ["write", way]]
    assert several(jail, acts) == [errno.EACCES] * 4
    acts = [[name, old, inside] for name in ("link", "rename") for old in (secret, model)]
    acts += [["rename", mine, str(place / "out")], ["link", theirs, str(place / "out")]]
    assert set(several(jail, acts)) <= {errno.EXDEV, errno.EACCES}


@needs_landlock(1)
def test_of_processes_only_the_own_one_is_seen() -> None:
    """Not the parent's environment and memory, nor anything by way of ``/proc/self/root``."""
    parent = os.getpid()
    for name in ("environ", "maps", "cmdline", "mem"):
        assert attempt({}, "read", f"/proc/{parent}/{name}", only="landlock") == errno.EACCES
    assert attempt({}, "listing", f"/proc/{parent}/fd") == errno.EACCES
    assert attempt({}, "read", "/proc/self/root/etc/passwd") == errno.EACCES
    own = ("/proc/self/status", "/proc/thread-self/comm", "/proc/meminfo", "/proc/cpuinfo")
    assert all(isinstance(one, tuple) for one in several({}, [["read", path] for path in own]))


@needs_landlock(1)
@pytest.mark.parametrize("version", range(1, OFFER["landlock"] + 1))
def test_older_kernels_confine_with_what_they_have(place: Path, jail: dict, version: int) -> None:
    """Files are protected with every version, and the report says what is left to seccomp."""
    acts = [["read", str(place / "secret")], ["write", str(place / "write" / "x")]]
    acts += [["open_truncating", str(place / "read" / "model")], ["unlink", str(place / "write/x")]]
    acts += [["kill", os.getpid()], ["own_signal"]]
    said = run({"jail": jail, "acts": acts, "version": version})
    found = [result(one) for one in said["acts"]]
    assert (found[0], found[1][0], found[3]) == (errno.EACCES, "done", ("done", None))
    assert found[2] in (errno.EACCES, errno.EPERM)
    assert found[4:] == [errno.EPERM, ("done", 2)]
    assert ("TCP" in said["report"]["landlock"]["gaps"]) == (version < 4)
    assert ("signals" in said["report"]["landlock"]["gaps"]) == (version < 6)


def test_a_missing_mechanism_is_told(place: Path) -> None:
    """Without Landlock the other mechanisms are applied and the report says what is open."""
    said = run({"jail": {}, "acts": [["read", str(place / "secret")], ["fork"]], "version": 0})
    assert said["report"]["landlock"]["state"] == "unavailable"
    assert "every file" in said["report"]["landlock"]["gaps"]
    assert [isinstance(result(one), tuple) for one in said["acts"]] == [True, not OFFER["seccomp"]]


@needs_landlock(1)
def test_procfs_is_held_in_memory() -> None:
    """Each rule on procfs is pinned by a descriptor, or it would be lost with the inode."""
    said = run({"jail": {}, "acts": [["pinned"]]})
    paths = said["acts"][0]["value"]
    assert {"/proc/meminfo", "/proc/stat"} <= set(paths)
    assert any(re.fullmatch(r"/proc/\d+", path) for path in paths)


@needs_landlock(1)
@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/shadow", "/dev/shm", "/tmp", "/root", "/"])
def test_the_system_is_granted_in_parts(path: str) -> None:
    """Accounts, homes, temporary files and shared memory are not among them."""
    name = "listing" if os.path.isdir(path) else "read"
    assert attempt({}, name, path) == errno.EACCES
    if path == "/dev/shm":
        assert attempt({}, "write", "/dev/shm/zimage") == errno.EACCES


@needs_landlock(2)
def test_output_is_made_but_not_removed(place: Path, jail: dict) -> None:
    """New files, also moved in when finished; nothing goes away, no links and no FIFOs."""
    new, theirs = str(place / "create" / "new"), str(place / "create" / "theirs")
    acts = [["write", new], ["append", new], ["read", new], ["folder", new + "s"]]
    assert all(isinstance(one, tuple) for one in several(jail, acts))
    for path in (new, theirs):
        elsewhere = [path + "2", str(place / "write" / "y")]
        acts = [["unlink", path], *(["rename", path, one] for one in elsewhere)]
        assert several(jail, acts) == [errno.EACCES] * 3
    assert attempt(jail, "fifo", str(place / "create" / "fifo")) in (errno.EACCES, errno.EPERM)
    (place / "write" / "ready").write_text("ready")
    moved = attempt(jail, "rename", str(place / "write" / "ready"), str(place / "create" / "r"))
    assert moved == ("done", None)
    over = attempt(jail, "rename", str(place / "write" / "ready"), theirs)
    assert over in (errno.EACCES, errno.ENOENT)
    assert Path(theirs).read_text() == "theirs"


@needs_landlock(3)
def test_what_may_be_read_is_not_emptied(place: Path, jail: dict) -> None:
    """Neither by name nor while opening it for reading."""
    for path in (place / "secret", place / "read" / "model"):
        for name in ("truncate", "open_truncating"):
            assert attempt(jail, name, str(path), only="landlock") == errno.EACCES
        assert path.stat().st_size


@needs_seccomp
def test_older_landlock_has_seccomp_keep_files_whole(place: Path) -> None:
    """Before its third version Landlock lets files be emptied that are only to be read."""
    path = place / "read" / "model"
    for name in ("truncate", "open_truncating"):
        assert attempt({}, name, str(path), only="seccomp", abi=2) == errno.EPERM
    assert path.stat().st_size


@needs_seccomp
def test_modes_owners_and_times_stay(place: Path, jail: dict) -> None:
    """Changing them seems done, so that copying works, and is not, wherever the file is."""
    for path in (place / "secret", place / "read" / "model"):
        before = path.stat()
        assert attempt(jail, "spoil", str(path)) == ("done", None)
        after = path.stat()
        assert (after.st_mode, after.st_uid, after.st_mtime) == (
            before.st_mode,
            before.st_uid,
            before.st_mtime,
        )
    model = place / "read" / "model"
    before = model.stat()
    assert attempt(jail, "spoil_opened", str(model)) == ("done", None)
    assert (model.stat().st_mode, model.stat().st_mtime) == (before.st_mode, before.st_mtime)
    assert attempt(jail, "attribute", str(model)) == errno.EOPNOTSUPP
    assert attempt(jail, "lease", str(model)) == errno.EPERM
    for gpu in (False, True):
        assert attempt({**jail, "gpu": gpu}, "flags", str(model)) == errno.EPERM
    stopped("listening_to", str(place), by=errno.EPERM, jail=jail)

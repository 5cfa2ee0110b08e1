"""Limits, environment and report of confined processes, and the work that stays possible."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path

import pytest

from zimage_comfyui.sandbox import confinement
from zimage_comfyui.tests.fakes.confined import (
    MB,
    OFFER,
    attempt,
    needs_root,
    needs_seccomp,
    only_linux,
    run,
    several,
    stopped,
)

pytestmark = only_linux


def test_no_capability_is_left() -> None:
    """None held, inherited, ambient or, as far as the user may change that, to be had."""
    found = attempt({}, "status")[1]
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == ("2" if OFFER["seccomp"] else "0")
    for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert int(found[name], 16) == 0, name
    if OFFER["user"] == 0:
        assert int(found["CapBnd"], 16) == 0


@needs_root
def test_root_loses_other_users_files(tmp_path: Path) -> None:
    """Being root no longer opens what its owner keeps to himself."""
    path = tmp_path / "theirs"
    path.write_text("x")
    path.chmod(0o600)
    os.chown(path, 12345, 12345)
    stopped("read", str(path), by=errno.EACCES, only="capabilities")
    stopped("kill", 1, by=errno.EPERM)


def test_memory_ends_with_an_error() -> None:
    """Private and shared memory; what the process has already is not counted."""
    small = {"memory": 200 * MB}
    assert attempt(small, "private_memory", 100 * MB) == ("done", 100 * MB)
    assert attempt(small, "private_memory", 400 * MB) == "MemoryError"
    assert attempt(small, "shared_memory", 400 * MB) == errno.ENOMEM
    gpu = {**small, "gpu": True}
    assert attempt(gpu, "private_memory", 400 * MB) == "MemoryError"
    assert attempt(gpu, "shared_memory", 400 * MB)[0] == "done"


@needs_seccomp
def test_files_without_names_need_the_gpu() -> None:
    """CUDA makes them; without it they would be memory that nothing counts."""
    stopped("memory_file", by=errno.EPERM)
    assert attempt({"gpu": True}, "memory_file") == ("done", None)


def test_descriptors_and_file_sizes_end_with_an_error(place: Path, jail: dict) -> None:
    """A flood of descriptors, a giant file, and the signal for it."""
    assert attempt({"files": 100}, "descriptors", 200) == errno.EMFILE
    jail["file_size"] = 4 * MB
    path = str(place / "write" / "giant")
    assert attempt(jail, "giant", path, 3 * MB)[0] == "done"
    assert attempt(jail, "giant", path, 5 * MB) == errno.EFBIG
    assert attempt(jail, "giant_killed", path, 5 * MB) == signal.SIGXFSZ


def test_limits_do_not_rise() -> None:
    """Not even for root, whose capabilities are gone."""
    jail = {"memory": 500 * MB, "file_size": MB}
    names = ("RLIMIT_NOFILE", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_CORE")
    found = several(jail, [["raise_limit", name] for name in names])
    assert set(found) <= {"ValueError", errno.EPERM}


def test_tasks_are_said_not_to_be_limited() -> None:
    """The kernel's limit counts others' processes, so the report leaves it to a watcher."""
    said = run({"jail": {"tasks": 5}, "acts": []})["report"]["tasks"]
    assert said["state"] == "unavailable"
    assert "5 tasks" in said["gaps"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory):
    """What became of ordinary work in a jail, all in one process."""
    where = tmp_path_factory.mktemp("work")
    (where / "model").write_text("model")
    home = where / "home"
    home.mkdir()
    environment = confinement.scrub({"OMP_NUM_THREADS": "1"}, str(home), str(home))
    names = ("threads", "event_loop", "sleep", "temporary", "processor", "find_library", "digest")
    names += ("queues", "own_signal", "arrays", "program")
    acts = [[name] for name in names]
    acts += [["mapped", str(where / "model")], ["picture", str(home / "picture.png")]]
    acts += [["copies", str(where / "model"), str(home / "copy")]]
    jail = {"read": [str(where / "model")], "write": [str(home)], "memory": 16 * 1024 * MB}
    said = run({"jail": jail, "acts": acts}, environment)
    said["acts"] = {act[0]: done for act, done in zip(acts, said["acts"], strict=True)}
    return said, home


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 45),
        ("event_loop", 3),
        ("sleep", None),
        ("processor", True),
        ("find_library", ...),
        ("digest", "2d71"),
        ("queues", "x"),
        ("own_signal", 2),
        ("mapped", "mode"),
        ("picture", 64),
        ("copies", True),
        ("temporary", ...),
        ("arrays", [16777216.0, 27.0, 4096.0]),
    ],
)
def test_ordinary_work_is_possible(work, name: str, value) -> None:
    """Threads, asyncio, files, libraries, pictures with a font, numpy and torch."""
    found = work[0]["acts"][name]
    assert "value" in found, found
    assert value is ... or found["value"] == value


def test_temporary_files_lie_in_the_granted_folder(work) -> None:
    """As the scrubbed environment says; a program is refused with the usual exception."""
    said, home = work
    assert Path(said["acts"]["temporary"]["value"]).parent == home
    assert said["acts"]["program"]["error"] == "PermissionError"
    assert said["report"]["environment"]["state"] == "applied"
    assert said["seconds"] < 1


def test_a_crash_is_told() -> None:
    """The traceback of faulthandler comes, then the signal."""
    assert attempt({}, "crash") == signal.SIGSEGV


def test_only_kept_descriptors_stay_open() -> None:
    """All others are closed, whatever their numbers."""
    one, other = os.pipe()
    try:
        order = {"keep": [0, 1, 2, one], "acts": [["open_descriptors"]]}
        said = run(order, pass_fds=(one, other))["acts"][0]["value"]
    finally:
        os.close(one)
        os.close(other)
    assert one in said
    assert other not in said


def test_loading_needs_nothing_else() -> None:
    """Neither torch nor ComfyUI nor the rest of the pack."""
    assert attempt(None, "modules") == ("done", [])


SECRETS = {
    "HF_TOKEN": "hf_x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "https_proxy": "http://user:word@proxy",
    "DBUS_SESSION_BUS_ADDRESS": "unix:x",
    "SSH_AUTH_SOCK": "/run/x",
    "PYTHONPATH": "/x",
    "LD_PRELOAD": "/x.so",
    "HOME": "/root",
    "DISPLAY": ":0",
}


def test_the_environment_is_made_of_what_is_known() -> None:
    """Language, time, threads and, with a GPU, its choice; homes and caches are its own."""
    kept = {"PATH": "/bin", "LC_ALL": "de_DE.UTF-8", "TZ": "UTC", "OMP_NUM_THREADS": "3"}
    gpu = {"CUDA_VISIBLE_DEVICES": "1"}
    clean = confinement.scrub({**SECRETS, **kept, **gpu}, "/jail/home", "/jail/temp")
    assert kept.items() <= clean.items()
    assert not (SECRETS.keys() - {"HOME"} | gpu.keys()) & clean.keys()
    assert clean["HOME"] == "/jail/home"
    assert clean["TMPDIR"] == "/jail/temp"
    assert clean["HF_HOME"].startswith("/jail/home/")
    assert gpu.items() <= confinement.scrub(gpu, "/h", "/t", gpu=True).items()


def test_a_process_that_was_started_with_secrets_says_so() -> None:
    """They stay readable in ``/proc/self/environ``, so the report names the variables."""
    said = run({"jail": {}, "acts": []}, {"PATH": os.defpath, "HF_TOKEN": "hf_x"})["report"]
    assert said["environment"]["state"] == "failed"
    assert "HF_TOKEN" in said["environment"]["reason"]
    assert "hf_x" not in json.dumps(said)


def test_the_report_names_what_could_not_be_granted(place: Path) -> None:
    """A folder that does not exist is left out and told."""
    said = run({"jail": {"read": [str(place / "nowhere")]}, "acts": []})["report"]
    if OFFER["landlock"]:
        assert str(place / "nowhere") in said["landlock"]["reason"]
    assert set(said) >= {"no_new_privs", "capabilities", "landlock", "limits", "seccomp"}

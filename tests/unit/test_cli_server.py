"""Where a started ComfyUI writes, and what is told when it cannot."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest
import yaml

from zimage_comfyui.cli import server
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server, host_environment, write_paths
from zimage_comfyui.cli.terminal import FAILED, LACKING, Stop


@pytest.fixture
def gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose Python does not exist; temporary folders are made in ``tmp_path/temp``."""
    temporary = tmp_path / "temp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return Host(tmp_path, tmp_path / "no" / "python", "argument")


@pytest.fixture
def idle(gone: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose start makes its folders and its log, and no process."""

    def launch(self: Server) -> None:
        (self.folder / "output").mkdir()
        self.log.write_text("its last words")

    monkeypatch.setattr(Server, "_launch", launch)
    monkeypatch.setattr(Server, "_await_answer", lambda *_: None)
    return gone


def test_an_interpreter_that_is_gone_is_named(gone: Host, tmp_path: Path) -> None:
    """Exit code 3 and no traceback."""
    with pytest.raises(Stop, match=r"ZI-HOST-START.*no/python") as stop:
        Server(gone, tmp_path, tmp_path / "run").start()
    assert stop.value.status == LACKING


def test_folders_that_cannot_be_made_are_named(gone: Host, tmp_path: Path) -> None:
    """Its own or the log's; nothing is left behind."""
    for arguments in ({"folder": Path("/dev/null/run")}, {"log": Path("/dev/null/run/log")}):
        with pytest.raises(Stop, match=r"ZI-OUTPUT.*/dev/null/run") as stop:
            Server(gone, tmp_path, **arguments).start()
        assert stop.value.status == LACKING
    assert list((tmp_path / "temp").iterdir()) == []


def test_no_room_for_temporary_files(
    gone: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full /tmp is told like any other folder."""

    def refuse(**_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server.tempfile, "mkdtemp", refuse)
    with pytest.raises(Stop, match=r"ZI-OUTPUT.*TMPDIR.*No space left"):
        Server(gone, tmp_path)


def test_a_failed_job_leaves_its_log(
    idle: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log's path is told, and only the log stays."""
    with pytest.raises(Stop), Server(idle, tmp_path) as running:
        raise Stop(FAILED, "ZI-RUN-FAILED", found="x")
    assert running.log.read_text() == "its last words"
    assert list(running.folder.iterdir()) == [running.log]
    assert capsys.readouterr().err.count(str(running.log)) == 2


def test_a_log_kept_elsewhere_needs_no_temporary_folder(idle: Host, tmp_path: Path) -> None:
    """With $ZIMAGE_LOG_DIR a failure leaves the log there and nothing else."""
    log = tmp_path / "comfyui.log"
    with pytest.raises(Stop), Server(idle, tmp_path, log=log):
        raise Stop(FAILED, "ZI-RUN-FAILED", found="x")
    assert log.read_text() == "its last words"
    assert list((tmp_path / "temp").iterdir()) == []


@pytest.mark.parametrize("code", [None, "ZI-CHARACTERS"])
def test_without_a_failure_nothing_is_left(idle: Host, tmp_path: Path, code: str | None) -> None:
    """Nor when the job's own message explains it, nor on Ctrl-C."""
    stop = Stop(FAILED, "ZI-RUN-FAILED", found="x")
    stop.code = code or ""
    with pytest.raises((Stop, KeyboardInterrupt)), Server(idle, tmp_path):
        raise stop if code else KeyboardInterrupt
    assert list((tmp_path / "temp").iterdir()) == []


@pytest.mark.parametrize("name", ["运行 run", "😀𠮷", "a: 'b' \"c\" #d", "bad\udcff"])
def test_any_folder_survives_the_paths_file(tmp_path: Path, name: str) -> None:
    """ComfyUI reads it as UTF-8 YAML and finds the very name."""
    write_paths(tmp_path / "paths.yaml", {"vae": name, "is_default": True})
    text = (tmp_path / "paths.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {"zimage": {"vae": name, "is_default": True}}


@pytest.mark.parametrize(
    ("own", "wanted"),
    [({}, "1000"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_waiting_threads_leave_the_cores_to_others(own: dict[str, str], wanted: str | None) -> None:
    """Unless the operator has said otherwise."""
    assert host_environment(own).get("GOMP_SPINCOUNT") == wanted

"""A server's end of the connection to its guardian: whose it is, and who has a guardian at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from zimage_comfyui.config import NEW, SERVER, Settings
from zimage_comfyui.guardian.channel import Peer, listen
from zimage_comfyui.guardian.server_process import ServerProcess
from zimage_comfyui.patches.base import guardian
from zimage_comfyui.patches.guardian_client import link
from zimage_comfyui.patches.queue import queue_installer

TESTS = Path(__file__).resolve().parents[1]
PROGRAM = f"""
import os, subprocess, sys
sys.path.insert(0, {str(TESTS)!r})
import conftest
from zimage_comfyui.config import Settings, claim
from zimage_comfyui.patches.base.guardian import serves
from zimage_comfyui.patches.guardian_client.link import Link

file, how = sys.argv[1:]
again = [sys.executable, __file__, file, ""]
if how:
    claim()
if how == "executes itself anew":
    os.execv(sys.executable, again)
if how == "starts another":
    sys.exit(subprocess.run(again, start_new_session=True).returncode)
settings = Settings.from_environment()
link = Link(settings.guardian, dict, lambda seconds: None, settings.guarded)
link.start()
sockets = link.wait()
mine = os.environ.get("{SERVER}") == str(os.getpid())
open(file, "w").write(f"{{link.state}} {{serves()}} {{mine}}")
"""


def start(folder: Path, *, by_guardian: bool, how: str = "") -> subprocess.Popen[bytes]:
    """A process that would serve, in a session of its own; a guardian marks its servers."""
    (folder / "program.py").write_text(PROGRAM)
    words = [sys.executable, str(folder / "program.py"), str(folder / "said"), how]
    env = {**os.environ, "ZIMAGE_GUARDIAN": str(folder / "g.sock")}
    if not by_guardian:
        return subprocess.Popen(words, env=env, start_new_session=True)
    process = ServerProcess.start(words, folder, env).child
    assert process is not None
    return process


def said(folder: Path, process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """How it ended, and what it has found."""
    status = process.wait(timeout=120)
    return status, (folder / "said").read_text() if (folder / "said").exists() else ""


@pytest.mark.parametrize(
    ("by_guardian", "how", "expected"),
    [
        (True, "", (1, "")), (True, "executes itself anew", (1, "")),
        (True, "starts another", (0, "stranger False False")),
        (False, "", (0, "stranger False False")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("next_one", [False, True], ids=["nobody", "the next guardian"])
def test_who_waits_ends_with_its_guardian(
    tmp_path: Path, by_guardian: bool, how: str, expected: tuple[int, str], next_one: bool
) -> None:
    """Nobody would tell it to go, and by itself it would take the queue from the next servers.
    What a server has started, with its environment, goes on."""
    listener = listen(tmp_path / "g.sock") if next_one else None
    process = start(tmp_path, by_guardian=by_guardian, how=how)
    if listener is not None:
        listener.setblocking(True)
        peer = Peer(listener.accept()[0])
        assert peer.receive() is not None
        peer.send({"stranger": True})
    assert said(tmp_path, process) == expected
    if listener is not None:
        peer.close()
        listener.close()


def test_who_is_told_to_go_serves(tmp_path: Path) -> None:
    """And has made the guardian's mark its own, so that nobody inherits it."""
    with listen(tmp_path / "g.sock") as listener:
        process = start(tmp_path, by_guardian=True)
        listener.setblocking(True)
        peer = Peer(listener.accept()[0])
        assert peer.receive() is not None
        peer.send({"go": True, "mode": "safe"})
        assert said(tmp_path, process) == (0, "active True True")
        peer.close()


def test_the_mark_is_a_guardians_or_this_process_s_own() -> None:
    """One that another process has claimed says nothing."""
    for value, guarded in ((NEW, True), (str(os.getpid()), True), ("1", False), ("", False)):
        assert Settings.from_environment({SERVER: value}).guarded is guarded
    assert not Settings.from_environment({}).guarded


@pytest.mark.parametrize(("state", "patience"), [("active", 10.0), ("stranger", 0.0)])
def test_only_a_guarded_server_waits_for_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, patience: float
) -> None:
    """A stranger with a guardian's environment is refused at once."""
    monkeypatch.setenv("ZIMAGE_GUARDIAN", str(tmp_path / "g.sock"))
    monkeypatch.setattr(queue_installer.comfyui, "server", lambda: None)
    monkeypatch.setattr(queue_installer.comfyui, "folder", lambda: tmp_path)
    one = link.Link(tmp_path / "g.sock", dict, lambda seconds: None, False)
    one.state = state
    monkeypatch.setattr(guardian, "_connection", one)
    assert queue_installer.create().patience == patience
    monkeypatch.setattr(guardian, "_connection", None)
    assert queue_installer.create().patience == 0.0


def test_what_has_to_be_written_is_written_before_the_end_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is half a second between the question and the end."""
    done: list[str] = []
    one = link.Link(tmp_path / "g.sock", dict, lambda seconds: None, False)
    one.settle = lambda: done.append("written")
    one._peer = SimpleNamespace(send=lambda message: not done.append(str(message)))
    monkeypatch.setattr(guardian, "_connection", one)
    assert not guardian.is_heard()
    one.state = "active"
    assert guardian.is_heard()
    assert guardian.ask_to_be_killed("why")
    assert done == ["written", "{'kill': 'why'}"]


def test_what_the_event_loop_owes_is_counted_in_signs_of_life(tmp_path: Path) -> None:
    """Time in which the whole process stood still does not count."""
    mine = link.Link(tmp_path / "g.sock", dict, lambda _: None, guarded=False)
    asked: list[Any] = []
    mine.loop = cast("Any", SimpleNamespace(call_soon_threadsafe=asked.append))
    assert [mine._measure_loop() for _ in range(3)] == [0.0, link.BEAT, 2 * link.BEAT]
    asked.pop()()
    assert (mine._measure_loop(), len(asked)) == (0.0, 1)

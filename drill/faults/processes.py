"""Faults of processes: killed, stopped, replaced, started twice."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..stage import Stage, until
from .base import Skipped, code, fault, node, running, submit


@fault
def kill_the_idle_server(stage: Stage, rng: random.Random) -> None:
    """Kill the server at a random moment; the standby takes over."""
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGKILL))


@fault
def kill_the_server_in_a_node(stage: Stage, rng: random.Random) -> None:
    """Kill the server while a node runs; the prompt runs again and succeeds."""
    id = running(stage, 0.5 + rng.random())
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGKILL))
    assert stage.entry(id)["status"]["completed"]


@fault
def kill_the_server_after_accepting(stage: Stage, rng: random.Random) -> None:
    """Kill the server right after the responses 200; all prompts succeed."""
    ids = [submit(stage, node("none", note=str(number))) for number in range(rng.randint(1, 9))]
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGKILL))
    assert all(stage.entry(id)["status"]["completed"] for id in ids)


@fault
def kill_the_server_while_saving(stage: Stage, rng: random.Random) -> None:
    """Kill the server while it saves; all pictures are complete in the end."""
    image = {"width": 1500, "height": 1500, "batch_size": 4, "color": rng.randrange(2**24)}
    save = {"images": ["1", 0], "filename_prefix": f"drill/{rng.random()}"}
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": save},
    }
    id = submit(stage, prompt)
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGKILL))
    outputs = stage.entry(id)["outputs"]["2"]["images"]
    assert len(outputs) == 4
    for output in outputs:
        assert stage.client.view(output).endswith(b"IEND\xaeB`\x82")


@fault
def kill_the_standby(stage: Stage, rng: random.Random) -> None:
    """Kill the standby; a new one is started, and the active server stays."""
    before = until(lambda: stage.standby, "a standby")
    active = stage.active
    os.kill(before, signal.SIGKILL)  # never 0, which would be the drill's process group
    until(lambda: stage.standby not in {0, before}, "another standby")
    assert stage.active == active


@fault
def kill_the_guardian(stage: Stage, rng: random.Random) -> None:
    """Kill the guardian; the server continues, and the next guardian adopts it."""
    active = stage.active
    before = len(stage.pids("found a running server"))  # an earlier round may have been the same
    assert stage.process is not None
    stage.process.kill()
    stage.process.wait()
    assert stage.client.answers()
    stage.start()
    until(lambda: active in stage.pids("found a running server")[before:], "adoption")


@fault
def kill_guardian_and_server(stage: Stage, rng: random.Random) -> None:
    """Kill guardian and servers, as in a power cut; all prompts succeed after the next start."""
    id = running(stage, 1.0)
    waiting = submit(stage, node("none", note="waits"))
    with all_killed(stage):
        pass
    assert stage.entry(id)["status"]["completed"]
    assert stage.entry(waiting)["status"]["completed"]


@contextmanager
def all_killed(stage: Stage, accepting: str = "") -> Iterator[None]:
    """Kill guardian and servers, and start them again afterwards.

    Args:
        stage: guardian and server.
        accepting: id of a prompt that the server has just written to disk when it is killed.
    """
    active, standby = stage.active, stage.standby
    assert stage.process is not None
    if accepting:
        stage.entry(submit(stage, node("die once accepted", note=accepting)))
    stage.is_down = True
    if accepting:
        stage.process.send_signal(signal.SIGSTOP)  # or it would start another server
        unanswered(stage, accepting)
        until(lambda: not stage.runs(active), "the death of the server")
    stage.process.kill()
    for pid in (active, standby):
        if pid and stage.runs(pid):
            os.kill(pid, signal.SIGKILL)
    stage.process.wait()
    until(lambda: not (stage.runs(active) or stage.runs(standby)), "the end of the servers")
    yield
    stage.start()
    stage.is_down = False


def unanswered(stage: Stage, id: str) -> None:
    """Submit a prompt to which the server must not respond, because it dies."""
    body = json.dumps({"prompt": node("none", note=id), "prompt_id": id}).encode()
    try:
        answer = stage.post("/prompt", body)
    except (OSError, http.client.HTTPException):
        return
    raise AssertionError(answer)


@fault
def kill_the_server_before_it_answers(stage: Stage, rng: random.Random) -> None:
    """Kill the server between accepting a prompt and its response; the prompt runs."""
    id = f"unanswered-{rng.randrange(10**9)}"

    def harm(_pid: int) -> None:
        stage.entry(submit(stage, node("die once accepted", note=id)))
        unanswered(stage, id)

    _replaced(stage, harm)
    assert stage.entry(id)["status"]["completed"]


@fault
def kill_the_server_before_the_end(stage: Stage, rng: random.Random) -> None:
    """Kill the server after the last node, before the prompt's end is stored; it runs again."""
    id = f"ends-{rng.randrange(10**9)}"
    mark = stage.folder / id

    def harm(_pid: int) -> None:
        with suppress(OSError, http.client.HTTPException):  # it may die before its response
            submit(stage, node("die before its end", note=str(mark)), prompt_id=id)
        until(mark.exists, "the last node")

    _replaced(stage, harm)
    assert stage.entry(id)["status"]["completed"]


@fault
def kill_a_sandbox(stage: Stage, rng: random.Random) -> None:
    """Kill a sandbox; its prompt fails with a code, the server and the next prompt do not."""
    boxed = stage.client.get("/health")["sandboxes"].get("packs", {})
    if "boxed" not in boxed:
        raise Skipped("sandboxes do not work on this system; ./zimage doctor says why")
    active = stage.active
    stage.post("/zimage/sandbox/lift", b'{"pack": "boxed"}')  # quarantine of an earlier round
    before = _boxed(stage)
    id = running(stage, 3600.0, "Boxed")
    os.kill(before, signal.SIGKILL)
    assert "[ZI-SANDBOX-DIED]" in code(stage.entry(id))
    assert _boxed(stage) != before
    assert stage.active == active


def _boxed(stage: Stage) -> int:
    """Return the process id of the pack's sandbox."""
    entry = stage.entry(submit(stage, node("where", "Boxed")))
    pid = int(entry["outputs"]["1"]["text"][1])
    assert pid != stage.active
    return pid


CRASH = """
import os, signal
with open({path!r}, "r+") as file:
    left = int(file.read())
    file.seek(0)
    file.write(str(max(left - 1, 0)))
if left:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@fault
def servers_that_die_while_they_start(stage: Stage, rng: random.Random) -> None:
    """Kill two servers while they start; clients wait for the third one."""
    crashes = stage.folder / "crashes"
    pack = stage.packs / "crash.py"
    pauses = len(stage.pauses())
    id = running(stage, 1.0)
    crashes.write_text("2")
    pack.write_text(CRASH.format(path=str(crashes)))
    try:
        for pid in (stage.standby, stage.active):
            if pid:
                os.kill(pid, signal.SIGKILL)
        assert stage.entry(id)["status"]["completed"]
        stage.settle()
    finally:
        pack.unlink()
    assert crashes.read_text() == "0"
    assert len(stage.pauses()) >= pauses + 2, stage.pauses()[pauses:]


@fault
def stop_the_server(stage: Stage, rng: random.Random) -> None:
    """Send SIGSTOP to the server; the guardian detects the hang, and the prompt runs again."""
    id = running(stage, 0.5)
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGSTOP))
    assert stage.entry(id)["status"]["completed"]


@fault
def end_the_server_in_order(stage: Stage, rng: random.Random) -> None:
    """Send SIGTERM to the server; its prompt runs again."""
    id = running(stage, 1.0)
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGTERM))
    assert stage.entry(id)["status"]["completed"]


@fault
def planned_replacement(stage: Stage, rng: random.Random) -> None:
    """Send SIGHUP to the guardian; the running prompt ends in the old server."""
    id = running(stage, 1.0 + rng.random())
    assert stage.process is not None
    guardian = stage.process
    _replaced(stage, lambda pid: guardian.send_signal(signal.SIGHUP))
    assert stage.entry(id)["status"]["completed"]


@fault
def poison(stage: Stage, rng: random.Random) -> None:
    """Submit a prompt that kills the server; it fails after two attempts."""
    try:
        id = submit(stage, node("die"))
    except http.client.RemoteDisconnected:  # the server died before its response: not accepted
        id = None
    if id is not None:
        assert "[ZI-PROMPT-DEADLY]" in code(stage.entry(id))
    stage.settle()


@fault
def second_server_on_the_folder(stage: Stage, rng: random.Random) -> None:
    """Start a second guardian on the port; it is refused with a coded message."""
    env = os.environ | {"ZIMAGE_HOME": str(stage.folder / "home")}
    second = subprocess.run(stage.command, env=env, capture_output=True, check=False, timeout=120)
    assert second.returncode == 3
    assert b"ZI-GUARDIAN-TAKEN" in second.stderr


def _replaced(stage: Stage, harm: Callable[[int], object]) -> None:
    """Harm the active server; wait until another is active and a standby is ready."""
    before = stage.active
    harm(before)
    until(
        lambda: stage.pids("serves now")[-1:] != [before] and not stage.runs(before),
        "another server",
    )
    stage.settle()

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
def kill_the_idle_server(stage: Stage, dice: random.Random) -> None:
    """Whatever it does just now."""
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGKILL))


@fault
def kill_the_server_in_a_node(stage: Stage, dice: random.Random) -> None:
    """The prompt runs again and succeeds."""
    id = running(stage, 0.5 + dice.random())
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGKILL))
    assert stage.entry(id)["status"]["completed"]


@fault
def kill_the_server_after_accepting(stage: Stage, dice: random.Random) -> None:
    """The moment after 200: all of them end."""
    ids = [submit(stage, node("none", note=str(number))) for number in range(dice.randint(1, 9))]
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGKILL))
    assert all(stage.entry(id)["status"]["completed"] for id in ids)


@fault
def kill_the_server_while_saving(stage: Stage, dice: random.Random) -> None:
    """The pictures are there in the end, whole."""
    image = {"width": 1500, "height": 1500, "batch_size": 4, "color": dice.randrange(2**24)}
    save = {"images": ["1", 0], "filename_prefix": f"drill/{dice.random()}"}
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
def kill_the_standby(stage: Stage, dice: random.Random) -> None:
    """Another one takes its place; nobody notices."""
    before, active = until(lambda: stage.standby, "a standby"), stage.active
    os.kill(before, signal.SIGKILL)  # never 0, which is the drill's own group
    until(lambda: stage.standby not in {0, before}, "another standby")
    assert stage.active == active


@fault
def kill_the_guardian(stage: Stage, dice: random.Random) -> None:
    """The server goes on, the next guardian adopts it."""
    active = stage.active
    before = len(stage.pids("found a running server"))  # it may have lost a guardian already
    assert stage.process is not None
    stage.process.kill()
    stage.process.wait()
    assert stage.client.answers()
    stage.start()
    until(lambda: active in stage.pids("found a running server")[before:], "adoption")


@fault
def kill_guardian_and_server(stage: Stage, dice: random.Random) -> None:
    """As when the machine goes down; everything is there after the next start."""
    id = running(stage, 1.0)
    waiting = submit(stage, node("none", note="waits"))
    with all_killed(stage):
        pass
    assert stage.entry(id)["status"]["completed"]
    assert stage.entry(waiting)["status"]["completed"]


@contextmanager
def all_killed(stage: Stage, accepting: str = "") -> Iterator[None]:
    """Guardian and servers are killed, and started again afterwards; nobody has the port meanwhile.

    Args:
        accepting: id of a prompt that the server has just put on disk when it dies.
    """
    active, standby = stage.active, stage.standby
    assert stage.process is not None
    if accepting:
        stage.entry(submit(stage, node("die once accepted", note=accepting)))
    stage.away = True
    if accepting:
        stage.process.send_signal(signal.SIGSTOP)  # or it would have another server by then
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
    stage.away = False


def unanswered(stage: Stage, id: str) -> None:
    """A prompt of which nobody hears whether it was accepted."""
    body = json.dumps({"prompt": node("none", note=id), "prompt_id": id}).encode()
    try:
        answer = stage.post("/prompt", body)
    except (OSError, http.client.HTTPException):
        return
    raise AssertionError(answer)


@fault
def kill_the_server_before_it_answers(stage: Stage, dice: random.Random) -> None:
    """And before it has answered 200: the prompt runs, although its client has heard nothing."""
    id = f"unanswered-{dice.randrange(10**9)}"

    def harm(_pid: int) -> None:
        stage.entry(submit(stage, node("die once accepted", note=id)))
        unanswered(stage, id)

    _replaced(stage, harm)
    assert stage.entry(id)["status"]["completed"]


@fault
def kill_the_server_before_the_end(stage: Stage, dice: random.Random) -> None:
    """After its last node and before anybody knows that it has ended: it runs again."""
    id = f"ends-{dice.randrange(10**9)}"
    mark = stage.folder / id

    def harm(_pid: int) -> None:
        with suppress(OSError, http.client.HTTPException):  # it may die before it has answered
            submit(stage, node("die before its end", note=str(mark)), prompt_id=id)
        until(mark.exists, "the last node")

    _replaced(stage, harm)
    assert stage.entry(id)["status"]["completed"]


@fault
def kill_a_sandbox(stage: Stage, dice: random.Random) -> None:
    """The prompt in it fails with a code, the server and the next prompt do not."""
    boxed = stage.client.get("/health")["sandboxes"].get("packs", {})
    if "boxed" not in boxed:
        raise Skipped("this system has no sandboxes, ./zimage doctor says why")
    active = stage.active
    stage.post("/zimage/sandbox/lift", b'{"pack": "boxed"}')  # of an earlier round
    before = _boxed(stage)
    id = running(stage, 3600.0, "Boxed")
    os.kill(before, signal.SIGKILL)
    assert "[ZI-SANDBOX-DIED]" in code(stage.entry(id))
    assert _boxed(stage) != before
    assert stage.active == active


def _boxed(stage: Stage) -> int:
    """The process of the pack's sandbox."""
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
def servers_that_die_while_they_start(stage: Stage, dice: random.Random) -> None:
    """A pack kills the first two; whoever connects waits for the third."""
    left, pack = stage.folder / "crashes", stage.packs / "crash.py"
    pauses, id = len(stage.pauses()), running(stage, 1.0)
    left.write_text("2")
    pack.write_text(CRASH.format(path=str(left)))
    try:
        for pid in (stage.standby, stage.active):
            if pid:
                os.kill(pid, signal.SIGKILL)
        assert stage.entry(id)["status"]["completed"]
        stage.settle()
    finally:
        pack.unlink()
    assert left.read_text() == "0"
    assert len(stage.pauses()) >= pauses + 2, stage.pauses()[pauses:]


@fault
def stop_the_server(stage: Stage, dice: random.Random) -> None:
    """SIGSTOP: the hang is noticed, the prompt runs again."""
    id = running(stage, 0.5)
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGSTOP))
    assert stage.entry(id)["status"]["completed"]


@fault
def end_the_server_in_order(stage: Stage, dice: random.Random) -> None:
    """SIGTERM to the server itself, by somebody else; its prompt runs again."""
    id = running(stage, 1.0)
    _replaced(stage, lambda pid: os.kill(pid, signal.SIGTERM))
    assert stage.entry(id)["status"]["completed"]


@fault
def planned_replacement(stage: Stage, dice: random.Random) -> None:
    """SIGHUP: the running prompt ends in the old process."""
    id = running(stage, 1.0 + dice.random())
    assert stage.process is not None
    guardian = stage.process
    _replaced(stage, lambda pid: guardian.send_signal(signal.SIGHUP))
    assert stage.entry(id)["status"]["completed"]


@fault
def poison(stage: Stage, dice: random.Random) -> None:
    """A prompt that takes the server down twice has failed then."""
    try:
        id = submit(stage, node("die"))
    except http.client.RemoteDisconnected:  # it died before the answer was out: nothing promised
        id = None
    if id is not None:
        assert "[ZI-PROMPT-DEADLY]" in code(stage.entry(id))
    stage.settle()


@fault
def second_server_on_the_folder(stage: Stage, dice: random.Random) -> None:
    """A second guardian of the port is refused with a sentence."""
    env = os.environ | {"ZIMAGE_HOME": str(stage.folder / "home")}
    done = subprocess.run(stage.command, env=env, capture_output=True, check=False, timeout=120)
    assert done.returncode == 3
    assert b"ZI-GUARDIAN-TAKEN" in done.stderr


def _replaced(stage: Stage, harm: Callable[[int], object]) -> None:
    """Harm the active server and wait until another serves and a standby waits."""
    before = stage.active
    harm(before)
    until(
        lambda: stage.pids("serves now")[-1:] != [before] and not stage.runs(before),
        "another server",
    )
    stage.settle()

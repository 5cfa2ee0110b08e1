"""Faults of processes: killed, stopped, replaced, started twice."""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
from collections.abc import Callable

from ..stage import Stage, until
from .base import code, fault, node, running, submit


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
    prompt = {"1": {"class_type": "EmptyImage", "inputs": image},
              "2": {"class_type": "SaveImage", "inputs": save}}  # fmt: skip
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
    active, standby = stage.active, stage.standby
    assert stage.process is not None
    stage.away = True
    stage.process.kill()
    for pid in (active, standby):
        if pid and stage.runs(pid):
            os.kill(pid, signal.SIGKILL)
    stage.process.wait()
    stage.start()
    stage.away = False
    assert stage.entry(id)["status"]["completed"]
    assert stage.entry(waiting)["status"]["completed"]


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
    until(lambda: stage.pids("serves now")[-1:] != [before] and not stage.runs(before),
          "another server")  # fmt: skip
    stage.settle()

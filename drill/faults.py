"""The faults. Each is done to a stage under load, and says what has to come of it by asserting it.

A fault that changes processes ends when the stage has settled. ``AssertionError`` and
``TimeoutError`` are broken invariants; what was accepted meanwhile is checked by the caller.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import struct
import subprocess
import zlib
from collections.abc import Callable
from typing import Any

from .stage import Stage, until

Fault = Callable[[Stage, random.Random], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    """Add one to the list, under its name."""
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


def node(kind: str, name: str = "Trouble", **inputs: object) -> dict[str, Any]:
    """A prompt of one node that makes trouble."""
    return {"1": {"class_type": name, "inputs": {"kind": kind, **inputs}}}


def submit(stage: Stage, prompt: dict[str, Any], **more: object) -> str:
    """Accepted, or the fault has failed."""
    status, answer = stage.post("/prompt", json.dumps({"prompt": prompt, **more}).encode())
    assert status == 200, (status, answer)
    return answer["prompt_id"]


def code(entry: dict[str, Any]) -> str:
    """Why a prompt failed: its coded message, empty for one that has succeeded."""
    messages = dict(entry["status"]["messages"])
    return messages.get("execution_error", {}).get("exception_message", "")


def refused(stage: Stage, path: str, data: bytes, *statuses: int, **headers: str) -> None:
    """A request that has to be refused with a code."""
    status, answer = stage.post(path, data, headers)
    assert status in statuses, (status, answer)
    assert answer["error"]["type"].startswith("ZI-"), answer


def running(stage: Stage, seconds: float) -> str:
    """A prompt that works for some seconds, once it does."""
    id = submit(stage, node("sleep", seconds=seconds))

    def runs() -> bool:
        return any(item[1] == id for item in stage.client.get("/queue")["queue_running"])

    until(runs, "a prompt that runs")
    return id


# --- processes ----------------------------------------------------------------------------


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
    before, active = stage.standby, stage.active
    os.kill(before, signal.SIGKILL)
    until(lambda: stage.standby not in {0, before}, "another standby")
    assert stage.active == active


@fault
def kill_the_guardian(stage: Stage, dice: random.Random) -> None:
    """The server goes on, the next guardian adopts it."""
    active = stage.active
    assert stage.process is not None
    stage.process.kill()
    stage.process.wait()
    assert stage.client.answers()
    stage.start()
    until(lambda: active in stage.pids("found a running server"), "adoption")


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
    id = submit(stage, node("die"))
    assert "[ZI-PROMPT-DEADLY]" in code(stage.entry(id))


@fault
def second_server_on_the_folder(stage: Stage, dice: random.Random) -> None:
    """A second guardian of the port is refused with a sentence."""
    env = os.environ | {"ZIMAGE_HOME": str(stage.folder / "home")}
    done = subprocess.run(stage.command, env=env, capture_output=True, check=False, timeout=120)
    assert done.returncode == 3
    assert b"ZI-GUARDIAN-TAKEN" in done.stderr


# --- nodes ----------------------------------------------------------------------------------


def _fails(kind: str, expected: str, name: str = "Trouble") -> Fault:
    def run(stage: Stage, _dice: random.Random) -> None:
        found = code(stage.entry(submit(stage, node(kind, name))))
        assert expected in found, found

    run.__doc__ = f"It fails alone{', as ' + expected if expected else ''}."
    return run


for _title, _kind, _code, _name in (
    ("a node calls sys.exit", "exit", "[ZI-NODE-EXIT]", "Trouble"),
    ("a coroutine calls sys.exit", "exit", "[ZI-WORKER]", "AsyncTrouble"),
    ("an object in ui", "object in ui", "[ZI-NODE-UI]", "Trouble"),
    ("a node raises", "raise", "trouble", "Trouble"),
    ("a node has no memory", "memory", "", "Trouble"),
    ("a node returns garbage", "garbage", "", "Trouble"),
):
    FAULTS[_title] = _fails(_kind, _code, _name)


@fault
def cancel_a_waiting_prompt(stage: Stage, dice: random.Random) -> None:
    """It never runs; its neighbours do."""
    running(stage, 1.0)
    ids = [submit(stage, node("none", note=f"c{number}")) for number in range(3)]
    stage.post("/queue", json.dumps({"delete": [ids[1]]}).encode())
    assert stage.entry(ids[0])["status"]["completed"]
    assert stage.entry(ids[2])["status"]["completed"]
    assert stage.client.get(f"/history/{ids[1]}") == {}


@fault
def prompts_in_front(stage: Stage, dice: random.Random) -> None:
    """What is put in front runs before what waits."""
    running(stage, 1.0)
    last = submit(stage, node("none", note="last"))
    first = submit(stage, node("none", note="first"), front=True)
    stage.entry(last)
    order = [id for id in stage.client.get("/history") if id in {first, last}]
    assert order == [first, last]


@fault
def the_same_id_twice(stage: Stage, dice: random.Random) -> None:
    """409 while it waits or runs."""
    id = f"twice-{dice.random()}"
    submit(stage, node("sleep", seconds=1.0), prompt_id=id)
    again = json.dumps({"prompt": node("none"), "prompt_id": id}).encode()
    refused(stage, "/prompt", again, 409)
    assert stage.entry(id)["status"]["completed"]


# --- requests ---------------------------------------------------------------------------------


def _bad(data: Callable[[random.Random], bytes], *statuses: int) -> Fault:
    def run(stage: Stage, dice: random.Random) -> None:
        refused(stage, "/prompt", data(dice), *(statuses or (400,)))

    run.__doc__ = f"Refused with {', '.join(map(str, statuses or (400,)))} and a code."
    return run


def _picture(dice: random.Random) -> bytes:
    """EmptyImage of 16384 x 16384 x 4096."""
    inputs = {"width": 16384, "height": 16384, "batch_size": 4096, "color": dice.randrange(9)}
    return json.dumps({"prompt": {"1": {"class_type": "EmptyImage", "inputs": inputs}}}).encode()


FAULTS |= {
    "malformed JSON": _bad(lambda dice: b'{"prompt": ' + dice.randbytes(9).hex().encode()),
    "bad UTF-8": _bad(lambda dice: b'{"prompt": "\xff\xfe"}'),
    "deep JSON": _bad(lambda dice: b"[" * dice.randint(500, 200_000)),
    "a list as prompt": _bad(lambda dice: b'{"prompt": [1, 2]}'),
    "wrong types": _bad(lambda dice: b'{"prompt": {"1": {"inputs": 5}}, "number": "x"}'),
    "a huge body": _bad(lambda dice: b" " * (33 * 2**20), 413),
    "pictures without end": _bad(_picture),
    "broken text": _bad(
        lambda dice: json.dumps({"prompt": node("none", note="a\ufffdb")}).encode()
    ),
    "random bytes": _bad(lambda dice: b"\0" + dice.randbytes(dice.randint(1, 5000))),
}


@fault
def a_page_without_origin(stage: Stage, dice: random.Random) -> None:
    """``Origin: null`` may not change anything."""
    data = json.dumps({"prompt": node("none")}).encode()
    refused(stage, "/prompt", data, 403, Origin="null", **{"Content-Type": "application/json"})


@fault
def a_forged_host(stage: Stage, dice: random.Random) -> None:
    """DNS rebinding: Host and Origin agree, and are somebody else's."""
    data = json.dumps({"prompt": node("none")}).encode()
    name = f"evil.example:{stage.port}"
    refused(stage, "/prompt", data, 403, Origin=f"http://{name}", Host=name,
            **{"Content-Type": "application/json"})  # fmt: skip


@fault
def paths_that_lead_elsewhere(stage: Stage, dice: random.Random) -> None:
    """Neither ``/view`` nor a node reads outside its folder."""
    for name in ("../user/comfyui.db", "/etc/hostname"):
        status, _ = stage.client.request(f"/view?filename={name}&type=input")
        assert status in {400, 403, 404}, status
        load = {"1": {"class_type": "LoadImage", "inputs": {"image": name}},
                "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}  # fmt: skip
        status, _ = stage.post("/prompt", json.dumps({"prompt": load}).encode())
        assert status == 400, status


@fault
def a_picture_bomb(stage: Stage, dice: random.Random) -> None:
    """A small file of 13300 x 13300 pixels is refused from its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data))  # fmt: skip

    side = 13_300
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * (side * (side // 8 + 1)), 9)
    name = f"bomb-{dice.randrange(10**9)}.png"
    (stage.folder / "input" / name).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    status, _ = stage.client.request(f"/view?filename={name}&type=input&channel=rgb")
    assert status == 400, status


@fault
def a_model_that_is_not_there(stage: Stage, dice: random.Random) -> None:
    """Refused before anything is loaded."""
    inputs = {"model_name": f"{dice.random()}.safetensors", "text_encoder": "x", "vae": "x"}
    prompt = {"1": {"class_type": "ZImageLoader", "inputs": inputs}}
    status, _ = stage.post("/prompt", json.dumps({"prompt": prompt}).encode())
    assert status == 400, status


# --- connections --------------------------------------------------------------------------------


def _open(stage: Stage, text: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", stage.port), timeout=60)
    connection.sendall(text)
    return connection


def _upgrade(name: str) -> bytes:
    return (
        f"GET /ws?clientId={name} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


@fault
def a_websocket_that_does_not_read(stage: Stage, dice: random.Random) -> None:
    """Others get their events."""
    with _open(stage, _upgrade("stalled")) as stalled:
        stalled.recv(100)
        stage.entry(submit(stage, node("large ui"), client_id="stalled"))
        assert stage.client.run(node("none", note="other")).succeeded


@fault
def a_websocket_that_vanishes(stage: Stage, dice: random.Random) -> None:
    """In the middle of its prompt; the prompt goes on."""
    with _open(stage, _upgrade("gone")) as gone:
        gone.recv(100)
        id = submit(stage, node("sleep", seconds=0.3), client_id="gone")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert stage.entry(id)["status"]["completed"]


@fault
def many_websockets(stage: Stage, dice: random.Random) -> None:
    """Two hundred at once."""
    opened = [_open(stage, _upgrade(f"many-{number}")) for number in range(200)]
    try:
        assert stage.client.run(node("none", note="many")).succeeded
    finally:
        for one in opened:
            one.close()


@fault
def requests_that_never_end(stage: Stage, dice: random.Random) -> None:
    """A hundred clients that stop in the middle of a header or a body."""
    head = b"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
    opened = [_open(stage, head + dice.choice([b"", b"\r\n{"])) for _ in range(100)]
    try:
        assert stage.client.run(node("none", note="slow")).succeeded
    finally:
        for one in opened:
            one.close()


@fault
def a_client_that_hangs_up(stage: Stage, dice: random.Random) -> None:
    """Before it has heard that its prompt was accepted."""
    body = json.dumps({"prompt": node("none", note="nobody hears")}).encode()
    head = f"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(20):
        _open(stage, head.encode() + body).close()
    assert stage.client.answers()


@fault
def an_interrupt_storm(stage: Stage, dice: random.Random) -> None:
    """Interrupts of nothing in particular hurt nobody who comes after."""
    for _ in range(20):
        stage.post("/interrupt", json.dumps({"prompt_id": "nobody"}).encode())
    assert stage.client.run(node("none", note="after")).succeeded


@fault
def memory_is_given_back_on_request(stage: Stage, dice: random.Random) -> None:
    """``/free`` while prompts run."""
    id = submit(stage, node("sleep", seconds=0.3))
    stage.post("/free", json.dumps({"unload_models": True, "free_memory": True}).encode())
    assert stage.entry(id)["status"]["completed"]


@fault
def any_unicode(stage: Stage, dice: random.Random) -> None:
    """Text of any characters is accepted or refused with a code; never 500."""
    for _ in range(20):
        points = [dice.choice([dice.randrange(0x300), dice.randrange(0x110000)]) for _ in range(50)]
        prompt = node("none", note="".join(map(chr, points)))
        status, answer = stage.post("/prompt", json.dumps({"prompt": prompt}).encode())
        assert status == 200 or answer["error"]["type"].startswith("ZI-"), (status, answer)


def _replaced(stage: Stage, harm: Callable[[int], object]) -> None:
    """Harm the active server and wait until another serves and a standby waits."""
    before = stage.active
    harm(before)
    until(lambda: stage.pids("serves now")[-1:] != [before] and not stage.runs(before),
          "another server")  # fmt: skip
    stage.settle()

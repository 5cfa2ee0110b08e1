"""Faults of connections: clients that stall, vanish, or come in hundreds."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct

from ..stage import Stage
from .base import fault, node, submit


def _open(stage: Stage, text: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", stage.port), timeout=60)
    connection.sendall(text)
    return connection


def _beside(stage: Stage, texts: list[bytes]) -> None:
    """A prompt succeeds while a connection for each text is open."""
    with contextlib.ExitStack() as opened:
        for text in texts:
            opened.enter_context(_open(stage, text))
        assert stage.client.run(node("none", note=f"beside {len(texts)}")).succeeded


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
    _beside(stage, [_upgrade(f"many-{number}") for number in range(200)])


@fault
def requests_that_never_end(stage: Stage, dice: random.Random) -> None:
    """A hundred clients that stop in the middle of a header or a body."""
    head = b"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
    _beside(stage, [head + dice.choice([b"", b"\r\n{"]) for _ in range(100)])


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

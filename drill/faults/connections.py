"""Faults of connections: clients that stall, disconnect, or come in hundreds."""

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
    """Assert that a prompt succeeds while a connection for each text is open."""
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
def a_websocket_that_does_not_read(stage: Stage, rng: random.Random) -> None:
    """Stop reading a WebSocket; other clients still get their events."""
    with _open(stage, _upgrade("stalled")) as stalled:
        stalled.recv(100)
        stage.entry(submit(stage, node("large ui"), client_id="stalled"))
        assert stage.client.run(node("none", note="other")).succeeded


@fault
def a_websocket_that_vanishes(stage: Stage, rng: random.Random) -> None:
    """Reset a WebSocket while its prompt runs; the prompt continues."""
    with _open(stage, _upgrade("gone")) as connection:
        connection.recv(100)
        id = submit(stage, node("sleep", seconds=0.3), client_id="gone")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert stage.entry(id)["status"]["completed"]


@fault
def many_websockets(stage: Stage, rng: random.Random) -> None:
    """Open 200 WebSockets; a prompt still succeeds."""
    _beside(stage, [_upgrade(f"many-{number}") for number in range(200)])


@fault
def requests_that_never_end(stage: Stage, rng: random.Random) -> None:
    """Send 100 incomplete requests, in the header or the body; a prompt still succeeds."""
    head = b"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
    _beside(stage, [head + rng.choice([b"", b"\r\n{"]) for _ in range(100)])


@fault
def a_client_that_hangs_up(stage: Stage, rng: random.Random) -> None:
    """Disconnect 20 times before the response to a prompt; the server still responds."""
    body = json.dumps({"prompt": node("none", note="nobody hears")}).encode()
    head = f"POST /prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
    for _ in range(20):
        _open(stage, head.encode() + body).close()
    assert stage.client.answers()


@fault
def an_interrupt_storm(stage: Stage, rng: random.Random) -> None:
    """Send 20 interrupts for an unknown prompt; the next prompt succeeds."""
    for _ in range(20):
        stage.post("/interrupt", json.dumps({"prompt_id": "nobody"}).encode())
    assert stage.client.run(node("none", note="after")).succeeded


@fault
def memory_is_given_back_on_request(stage: Stage, rng: random.Random) -> None:
    """Send ``/free`` while a prompt runs; the prompt succeeds."""
    id = submit(stage, node("sleep", seconds=0.3))
    stage.post("/free", json.dumps({"unload_models": True, "free_memory": True}).encode())
    assert stage.entry(id)["status"]["completed"]


@fault
def any_unicode(stage: Stage, rng: random.Random) -> None:
    """Submit texts of any characters; each is accepted or refused with a code, never 500."""
    for _ in range(20):
        points = [rng.choice([rng.randrange(0x300), rng.randrange(0x110000)]) for _ in range(50)]
        prompt = node("none", note="".join(map(chr, points)))
        status, answer = stage.post("/prompt", json.dumps({"prompt": prompt}).encode())
        assert status == 200 or answer["error"]["type"].startswith("ZI-"), (status, answer)

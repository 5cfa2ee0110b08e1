"""Messages and sockets between guardian and server."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.guardian import channel, sockets


@pytest.fixture
def pair(tmp_path: Path):
    """Both ends of a connection; the folder's name is longer than a Unix socket's may be."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    listener = channel.listen(folder / "control")
    assert (folder / "control").stat().st_mode & 0o777 == 0o600
    server = channel.connect(folder / "control", 1)
    listener.setblocking(True)
    guardian = channel.Peer(listener.accept()[0])
    yield guardian, server
    for one in (guardian, server, listener):
        one.close()


def test_messages_arrive_one_by_one_and_tell_who_sent_them(pair) -> None:
    """In order, whole, with the sender's process id from the kernel."""
    guardian, server = pair
    assert guardian.pid == os.getpid()
    for number in range(3):
        assert server.send({"beat": {"loop": number, "text": "图" * 1000}})
    assert [guardian.receive()[0]["beat"]["loop"] for _ in range(3)] == [0, 1, 2]


def test_sockets_travel(pair) -> None:
    """What arrives accepts connections to the same port."""
    guardian, server = pair
    (listening,) = sockets.open_all("127.0.0.1", 0)
    assert guardian.send({"go": True}, [listening])
    message, (arrived,) = server.receive()
    assert message == {"go": True}
    assert arrived.getsockname() == listening.getsockname()
    listening.close()
    with socket.create_connection(arrived.getsockname(), timeout=10):
        arrived.setblocking(True)
        arrived.accept()[0].close()
    arrived.close()


def test_the_end_is_seen_on_both_sides(pair) -> None:
    """None for the reader, False for the writer, an exception for nobody."""
    guardian, server = pair
    server.close()
    assert guardian.receive() is None
    assert not guardian.send({"go": True})


def test_silence_is_a_timeout(pair) -> None:
    """So that a thread can do something else in between."""
    _, server = pair
    server.connection.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.receive()


@given(data=st.binary(min_size=1, max_size=100))
def test_anything_may_arrive(data: bytes) -> None:
    """What is no JSON object is an empty message."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.send(data)
        found = channel.Peer(right).receive()
        assert found is not None
        assert isinstance(found[0], dict)

"""Messages and sockets between guardian and server, systemd's datagrams, listening."""

from __future__ import annotations

import logging
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.guardian import channel, sockets
from zimage_comfyui.guardian import logging as guardian_logging


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


def test_a_port_in_use_is_named() -> None:
    """With the code that the command line has for it; nothing stays open."""
    (first,) = sockets.open_all("127.0.0.1", 0)
    port = first.getsockname()[1]
    with first, pytest.raises(ZImageError, match="ZI-PORT-USED"):
        sockets.open_all("127.0.0.1", port)
    with pytest.raises(ZImageError, match="ZI-ADDRESS"):
        sockets.open_all("203.0.113.1", 0)


def test_several_addresses_share_a_port() -> None:
    """As ComfyUI does it; IPv6 does not take IPv4 with it."""
    opened = sockets.open_all("127.0.0.1,::1", 0)
    assert len({one.getsockname()[1] for one in opened}) == 1
    assert {one.family for one in opened} == {socket.AF_INET, socket.AF_INET6}
    for one in opened:
        one.close()


@pytest.mark.parametrize("abstract", [True, False])
def test_systemd_is_told(tmp_path: Path, abstract: bool) -> None:
    """A datagram to a path or to an abstract name."""
    name = f"\0zimage-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        guardian_logging.notify("@" + name[1:] if abstract else name, "READY=1")
        systemd.settimeout(10)
        assert systemd.recv(100) == b"READY=1"
    guardian_logging.notify("", "READY=1")
    guardian_logging.notify(str(tmp_path / "nobody"), "READY=1")


def decode_journal_entry(datagram: bytes) -> dict[str, str]:
    """Return the fields of an entry in systemd's native journal protocol."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", datagram)
            value = datagram[8 : 8 + size]
            assert datagram[8 + size : 9 + size] == b"\n"
            datagram = datagram[9 + size :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.mark.parametrize(
    "message", ["ended: exit 1", "已结束 / ended: 图\nPRIORITY=0\n\nlast line", "\n"]
)
def test_the_journal_gets_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    """The journal gets all fields, also with a message of several lines."""
    path = str(tmp_path / "journal")
    monkeypatch.setattr(guardian_logging, "JOURNAL", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        record = logging.makeLogRecord(
            {"msg": "%s", "args": (message,), "levelno": 30, "event": "end", "server": 7}
        )
        guardian_logging.Journal().emit(record)
        systemd.settimeout(10)
        assert decode_journal_entry(systemd.recv(1000)) == {
            "MESSAGE": message,
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "zimage-guardian",
            "ZIMAGE_EVENT": "end",
            "ZIMAGE_PID": "7",
        }


ACTIVATED = """
import sys
sys.path.insert(0, {tests!r})
import conftest
from zimage_comfyui.config import Settings
from zimage_comfyui.guardian.sockets import inherited
(listening,) = inherited(Settings.from_environment().listen_fds)
listening.setblocking(True)
listening.accept()[0].sendall(b"hello")
"""


def test_a_socket_of_systemd_is_taken() -> None:
    """Descriptor 3, meant for the process whose id ``$LISTEN_PID`` holds, across an exec."""
    script = ACTIVATED.format(tests=str(Path(__file__).resolve().parents[1]))
    (listening,) = sockets.open_all("127.0.0.1", 0)
    with listening:
        shell = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" -c "$1"'
        activated = subprocess.Popen(
            ["/bin/sh", "-c", shell, sys.executable, script],
            preexec_fn=lambda: os.dup2(listening.fileno(), sockets.FIRST),
            close_fds=False,
        )
        with socket.create_connection(listening.getsockname(), timeout=120) as client:
            assert client.recv(100) == b"hello"
        assert activated.wait(60) == 0

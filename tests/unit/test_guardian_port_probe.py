"""The port is asked, and any reaction is an answer."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest

from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.messages import reason_text
from zimage_comfyui.guardian.port_probe import PortProbe
from zimage_comfyui.guardian.sockets import open_all
from zimage_comfyui.tests.fakes.waiting import wait

LIMITS = Limits(probes=10)


def reset(connection: socket.socket) -> None:
    """End a connection without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "react",
    [lambda client: client.send(b"HTTP/1.1 200 OK"), lambda client: None, reset],
    ids=["an answer", "an end, as with TLS", "a reset"],
)
def test_a_server_that_reacts_is_alive(react: Callable[[socket.socket], object]) -> None:
    """And is asked again a while later."""
    (listener,) = open_all("127.0.0.1", 0)
    listener.settimeout(60)
    probe = PortProbe(LIMITS)
    probe.reset(0.0)
    with listener:
        for now in (11.0, 33.0):
            assert probe.failure([listener], now) is None
            connection, _ = listener.accept()
            react(connection)
            connection.close()

            def answered(now: float = now) -> bool:
                assert probe.failure([listener], now + 5) is None
                return probe.connection is None

            wait(answered)


def test_one_that_does_not_react_is_dead() -> None:
    """Although the kernel takes the connection."""
    (listener,) = open_all("127.0.0.1", 0)
    probe = PortProbe(LIMITS)
    probe.reset(0.0)
    with listener:
        assert probe.failure([listener], 9.0) is None
        assert probe.connection is None
        assert probe.failure([listener], 11.0) is None
        assert probe.failure([listener], 20.0) is None
        assert probe.failure([listener], 22.0) == reason_text("port", seconds=11.0)

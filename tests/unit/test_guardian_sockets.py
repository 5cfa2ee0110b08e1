"""Listening sockets: opened, or inherited from systemd."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.guardian import sockets


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
            preexec_fn=lambda: os.dup2(listening.fileno(), sockets.FIRST_INHERITED),
            close_fds=False,
        )
        with socket.create_connection(listening.getsockname(), timeout=120) as client:
            assert client.recv(100) == b"hello"
        assert activated.wait(60) == 0

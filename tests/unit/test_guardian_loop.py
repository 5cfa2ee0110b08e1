"""The guardian's loop with servers that are parts of the test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zimage_comfyui.guardian import sockets
from zimage_comfyui.guardian.launch_config import LaunchConfig
from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.loop import Guardian

ENDS_AFTER_HELLO = """
import array, socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))]
server.sendmsg([b'{"hello": "active", "mode": "safe"}'], rights)
"""


@pytest.fixture
def guardian(tmp_path: Path) -> Iterator[Guardian]:
    """A guardian that starts nothing."""
    listening = sockets.open_all("127.0.0.1", 0)
    config = LaunchConfig(lambda mode, folder: [], tmp_path, {}, tmp_path, "g", standby=False)
    guarding = Guardian(config, listening, Limits())
    yield guarding
    guarding._watcher.close()
    guarding._control.close()
    listening[0].close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the dead server's listener
def test_an_active_server_that_has_ended_is_not_adopted(guardian: Guardian) -> None:
    """Its message is still there, but its process is not; the mode stays normal."""
    command = [sys.executable, "-I", "-c", ENDS_AFTER_HELLO, str(guardian.config.control)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    guardian._handle_events()  # its connection
    guardian._handle_events()  # its hello
    assert guardian.pool.servers == []
    assert guardian.pool.launcher.restarts.mode == "normal"

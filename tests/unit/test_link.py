"""A server's end of the connection to its guardian, when there is no guardian any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.guardian.channel import Peer, listen

TESTS = Path(__file__).resolve().parents[1]
SERVER = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import conftest
from pathlib import Path
from zimage_comfyui.patches.link import Link

link = Link(Path(sys.argv[1]), dict, lambda seconds: None)
link.start()
print("serves", link.wait(), link.state, flush=True)
"""


def start(path: Path, *, by_guardian: bool) -> subprocess.Popen[str]:
    """A process that would serve; a guardian starts its servers in sessions of their own."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(path)], start_new_session=by_guardian,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("by_guardian", "said", "status"), [(True, "", 1), (False, "serves [] stranger\n", 0)]
)
@pytest.mark.parametrize("next_one", [False, True], ids=["nobody", "the next guardian"])
def test_who_waits_ends_with_its_guardian(
    tmp_path: Path, by_guardian: bool, said: str, status: int, next_one: bool
) -> None:
    """Nobody would tell it to go, and by itself it would take the queue from the next servers.
    What a server has started, with its environment, goes on."""
    path = tmp_path / "g.sock"
    listener = listen(path) if next_one else None
    with start(path, by_guardian=by_guardian) as process:
        if listener is not None:
            listener.setblocking(True)
            peer = Peer(listener.accept()[0])
            assert peer.receive() is not None
            peer.send({"stranger": True})
        assert process.communicate(timeout=120)[0] == said
        assert process.returncode == status
    if listener is not None:
        peer.close()
        listener.close()

"""What a worker sends is read within bounds, and its last words are understood."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from zimage_comfyui.sandbox.host import frames_in
from zimage_comfyui.sandbox.host.frames_in import FrameReader, WorkerCrash
from zimage_comfyui.sandbox.protocol import messages as m

SEGV = b"Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (total: 3)\n"


class Ends:
    """A worker's ends of both sockets, and the host's reading end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.handover, self.fault = socket.socketpair()
        patience = struct.pack("ll", 0, 100_000)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        self.ours, self.theirs = Connection(ours.detach()), Connection(theirs.detach())
        self.incoming = FrameReader(self.ours, self.handover)

    def raw(self, data: bytes) -> None:
        """Bytes that ``Connection`` would not send."""
        os.write(self.theirs.fileno(), data)


@pytest.fixture
def ends() -> Iterator[Ends]:
    found = Ends()
    yield found
    for one in (found.ours, found.theirs, found.handover, found.fault):
        one.close()


def test_a_message_is_what_was_sent(ends: Ends) -> None:
    """Whole, however large; None while there is none."""
    assert ends.incoming.read(0) is None
    ends.theirs.send_bytes(b"a")
    ends.theirs.send_bytes(b"b" * 50_000)
    assert ends.incoming.read(1) == b"a"
    assert ends.incoming.read(1) == b"b" * 50_000


@pytest.mark.parametrize("size", [-1, m.FRAME_BYTES + 1, 2**31 - 1])
def test_a_message_that_would_be_too_long_is_not_waited_for(ends: Ends, size: int) -> None:
    """Nor is memory taken for it."""
    ends.raw(struct.pack("!i", size))
    with pytest.raises(ValueError, match="bytes, at most"):
        ends.incoming.read(1)


@pytest.mark.parametrize("data", [b"\0", struct.pack("!i", 9) + b"half"])
def test_a_message_that_does_not_end_is_given_up(ends: Ends, data: bytes) -> None:
    """The socket itself has the patience."""
    ends.raw(data)
    with pytest.raises(BlockingIOError):
        ends.incoming.read(1)


def test_a_message_by_drops_is_given_up(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps nobody waiting for ever."""
    monkeypatch.setattr(frames_in, "FRAME_SECONDS", -1.0)
    ends.raw(struct.pack("!i", 9) + b"drop")
    with pytest.raises(BlockingIOError, match="did not come"):
        ends.incoming.read(1)


def test_who_hangs_up_is_gone(ends: Ends) -> None:
    """Between two messages and in the middle of one."""
    ends.raw(struct.pack("!i", 9) + b"half")
    ends.theirs.close()
    for _ in range(2):
        with pytest.raises(EOFError):
            ends.incoming.read(1)


@pytest.mark.parametrize(
    ("told", "signal", "unnamed"),
    [
        (SEGV, "SIGSEGV", False),
        (b"Fatal Python error: Aborted\n(total: 1)", "SIGABRT", False),
        (b"Fatal Python error: none that we know\n(total: 1)", None, True),
        (b"Fatal Python error: Segmenta", None, True),
        (b"Fatal Py", None, True),
        (b"", None, True),
        (b"I am SIGSEGV, believe me", None, False),
    ],
)
def test_a_crash_is_told_by_the_report(
    ends: Ends, told: bytes, signal: str | None, unnamed: bool
) -> None:
    """By the first line of faulthandler's words, and nothing else; after a part, by the kernel."""
    ends.fault.sendall(told)
    ends.fault.close()
    with pytest.raises(WorkerCrash) as caught:
        ends.incoming.read(1)
    assert caught.value.report == told
    assert (caught.value.signal, caught.value.signal_unknown) == (signal, unnamed)


def test_a_report_in_pieces_is_waited_for(ends: Ends) -> None:
    """On a busy machine the next piece is late; the first alone does not say which signal it is."""
    late = threading.Timer(0.2, ends.fault.sendall, [SEGV[10:]])
    ends.fault.sendall(SEGV[:10])
    late.start()
    with pytest.raises(WorkerCrash) as caught:
        ends.incoming.read(1)
    late.join()
    assert caught.value.signal == "SIGSEGV"


def test_messages_come_before_a_crash(ends: Ends) -> None:
    """What it had done by then counts."""
    ends.theirs.send_bytes(b"done")
    ends.fault.sendall(SEGV)
    assert ends.incoming.read(1) == b"done"
    with pytest.raises(WorkerCrash):
        ends.incoming.read(1)


def test_a_report_is_bounded(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes on and on is cut off."""
    monkeypatch.setattr(frames_in, "REPORT_BYTES", 64)
    ends.fault.sendall(b"x" * 200)
    assert len(ends.incoming.read_report(0)) == 64

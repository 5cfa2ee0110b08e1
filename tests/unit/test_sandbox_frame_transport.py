"""The host's sockets to a worker: frames, descriptors, and frames that are unusable."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from zimage_comfyui.sandbox.host.frame_transport import BadFrameError, FrameTransport
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.descriptor_channel import DescriptorChannel
from zimage_comfyui.sandbox.protocol.exceptions import CodecError
from zimage_comfyui.tests.fakes.hand_worker import Worker, by_hand


class Ends:
    """The host's transport and the worker's ends."""

    def __init__(self) -> None:
        self.host = FrameTransport()
        with self.host.worker_ends() as (frames, descriptors):
            self.frames = Connection(os.dup(frames))
            self.channel = DescriptorChannel(socket.socket(fileno=os.dup(descriptors)))


@pytest.fixture
def ends() -> Iterator[Ends]:
    pair = Ends()
    yield pair
    pair.host.close()
    pair.frames.close()
    pair.channel.close()


def test_frames_cross_in_both_directions(ends: Ends) -> None:
    """With their size; there is none after that."""
    ends.host.send(m.Cancel(7))
    assert m.from_host(ends.frames.recv_bytes()) == m.Cancel(7)
    data = m.encode(m.Done(7, "value"))
    ends.frames.send_bytes(data)
    assert ends.host.receive(1) == (m.Done(7, "value"), len(data))
    assert ends.host.receive(0) is None


def test_a_descriptor_is_found_by_its_number(ends: Ends) -> None:
    """It is another descriptor of the same file."""
    reading, writing = os.pipe()
    ends.host.send_descriptor(5, writing)
    os.write(ends.channel.take(5), b"x")
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", bytes(range(256)), b"\x91" * 100_000, b"\x81\xa1@\xa6pickle"]
)
def test_a_frame_that_does_not_decode_is_refused(ends: Ends, data: bytes) -> None:
    """Also one that is nested deeply, or of a type that there is not."""
    ends.frames.send_bytes(data)
    with pytest.raises(BadFrameError):
        ends.host.receive(1)


def test_a_frame_that_is_too_long_is_not_sent(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker would close the connection for it."""
    monkeypatch.setattr(m, "FRAME_BYTES", 10)
    with pytest.raises(CodecError, match="are more than 10"):
        ends.host.send(m.ErrorInfo("error", "type", "long message"))


def test_an_unusable_frame_ends_the_worker() -> None:
    """In words that a person understands, without what the worker has sent."""
    with by_hand(lambda: 0.0) as worker:
        _send_garbage(worker)
        worker.host.drain()
        assert "bad message" in str(worker.host.process.end_reason)


def _send_garbage(worker: Worker) -> None:
    worker.connection.send_bytes(b"\xc1 no frame")

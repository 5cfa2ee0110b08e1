"""A worker's end of the connection, served by a test in the host's place."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.descriptor_channel import DescriptorChannel
from zimage_comfyui.sandbox.worker.worker import MAX_UNSENT_RELEASES, Worker


@pytest.fixture
def ends() -> Iterator[tuple[Worker, Connection]]:
    """A worker and the host's end of its connection for frames."""
    host, inside = Pipe()
    channel, other = socket.socketpair()
    yield Worker(inside, DescriptorChannel(channel), 2**20), host
    for end in (host, inside, channel, other):
        end.close()


def frame(host: Connection) -> Any:
    """The next frame from the worker."""
    assert host.poll(20)
    return m.from_worker(host.recv_bytes())


@pytest.mark.parametrize("is_coroutine", [False, True])
def test_a_result_that_is_too_large_is_a_failure(
    ends: tuple[Worker, Connection], monkeypatch: pytest.MonkeyPatch, is_coroutine: bool
) -> None:
    """Of a function and of a coroutine: the host does not wait for a result that cannot come."""
    worker, host = ends
    monkeypatch.setattr(m, "FRAME_BYTES", 5000)

    async def coroutine() -> str:
        return "x" * 6000

    worker.run = lambda _call: coroutine() if is_coroutine else "x" * 6000
    worker.serve(m.Call(7, "node"))
    failed = frame(host)
    assert isinstance(failed, m.Failed)
    assert failed.number == 7


def test_released_objects_are_reported_together(ends: tuple[Worker, Connection]) -> None:
    """In one frame, each with the number of references that the host sent."""
    worker, host = ends
    for number in range(MAX_UNSENT_RELEASES):
        worker.release(number, 2)
    worker._send_releases()
    assert frame(host) == m.Forget([(number, 2) for number in range(MAX_UNSENT_RELEASES)])
    worker._send_releases()
    assert not host.poll(0)

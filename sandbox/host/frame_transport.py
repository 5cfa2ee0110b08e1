"""The connection to one worker: a socket for frames and a socket for descriptors."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

from ..protocol import messages as m
from ..protocol.descriptor_channel import DescriptorChannel
from ..protocol.exceptions import CodecError
from .frames_in import FrameReader
from .frames_out import FrameWriter

SOCKET_SECONDS = 10
"""Longest time for one part of a frame, or for a descriptor."""


class BadFrameError(Exception):
    """A frame that is too long, does not end in time, or does not decode."""


class FrameTransport:
    """The host's ends of the sockets, for any thread.

    Attributes:
        reading: the lock of the thread that reads frames; other threads wait for it.
    """

    def __init__(self) -> None:
        self.reading = threading.Lock()
        self._frames, self._worker_frames = socket.socketpair()
        descriptors, self._worker_descriptors = socket.socketpair()
        timeout = struct.pack("ll", SOCKET_SECONDS, 0)
        for end in (self._frames, descriptors):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._channel = DescriptorChannel(descriptors)
        self._reader = FrameReader(self._frames, descriptors)
        self._writer = FrameWriter(self._frames)

    @contextlib.contextmanager
    def worker_ends(self) -> Iterator[tuple[int, int]]:
        """Yield the descriptors of the worker's ends, for frames and for descriptors.

        They are closed afterwards: the worker has copies.
        """
        with self._worker_frames as frames, self._worker_descriptors as descriptors:
            yield frames.fileno(), descriptors.fileno()

    def send(self, frame: Any) -> None:
        """Send a frame.

        Raises:
            CodecError: it is too long.
            TimeoutError: the worker does not read it in time.
            OSError: the worker has closed the connection.
        """
        data = m.encode(frame)
        if len(data) > m.FRAME_BYTES:
            raise CodecError(f"{len(data)} bytes are more than {m.FRAME_BYTES}")
        self._writer.write(data)

    def receive(self, seconds: float) -> tuple[m.FromWorker, int] | None:
        """Return the next frame and its size, None if none begins within that time.

        Raises:
            BadFrameError: the frame is unusable.
            WorkerCrash: the worker has crashed.
            EOFError: the worker has closed the connection.
            OSError: the connection is broken.
        """
        try:
            data = self._reader.read(seconds)
            return None if data is None else (m.from_worker(data), len(data))
        except (BlockingIOError, ValueError, msgspec.DecodeError, RecursionError) as error:
            raise BadFrameError(str(error)) from error

    def send_descriptor(self, number: int, fd: int) -> None:
        """Send a descriptor, before the frame that refers to its number.

        Raises:
            OSError: the worker has closed the connection.
        """
        self._channel.send(number, fd)

    def read_report(self) -> bytes:
        """Return what has arrived of a crash report."""
        return self._reader.read_report(0)

    def close(self) -> None:
        """Close the host's ends."""
        self._frames.close()
        self._channel.close()

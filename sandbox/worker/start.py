"""The start of a new worker: read the first frame, confine the process, serve the host."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from multiprocessing.connection import Connection

from ..confinement import Jail, close_others, confine
from ..protocol import messages as m
from ..protocol.descriptor_channel import DescriptorChannel
from .comfy_environment import serve
from .worker import Worker


def start(frame_socket: int, descriptor_socket: int) -> None:
    """Read the host's first frame, confine this process, and serve until the host hangs up.

    Args:
        frame_socket: file descriptor of the socket for frames.
        descriptor_socket: file descriptor of the socket for file descriptors.

    Raises:
        CodecError: the first frame is not a :class:`messages.Begin`.
    """
    _prepare_process(descriptor_socket)
    connection = Connection(frame_socket)
    begin = m.begin(connection.recv_bytes(m.FRAME_BYTES))
    os.environ.clear()
    os.environ.update(begin.environment)
    channel = DescriptorChannel(socket.socket(fileno=descriptor_socket))
    worker = Worker(connection, channel, begin.quota)
    report: dict[str, dict[str, str]] = {}
    if begin.jail is not None:
        close_others({0, 1, 2, frame_socket, descriptor_socket})
        report = confine(_jail(begin.jail)).describe()
    worker.send(m.Ready(report))
    serve(worker, begin)


def _prepare_process(descriptor_socket: int) -> None:
    """Set output streams, fault reports and signal handlers of a process that was just forked."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    # The host reads the report of a crash from this socket. A child of the worker writes its own
    # report to standard error: the host must not take it for a crash of the worker.
    faulthandler.enable(descriptor_socket, all_threads=False)
    os.register_at_fork(after_in_child=lambda: faulthandler.enable(2, all_threads=False))
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_DFL)


def _jail(permissions: dict[str, list[str] | bool | int]) -> Jail:
    """Return the jail of the first frame; its lists of paths become tuples."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in permissions.items()
    }
    return Jail(**fields)  # type: ignore[arg-type]

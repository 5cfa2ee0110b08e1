"""The first steps of a new worker: it reads its task, confines itself, and serves the host."""

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
    """Read the task from the host, confine this process, and serve the host until it ends.

    Args:
        frame_socket: descriptor of the socket for frames.
        descriptor_socket: descriptor of the socket for descriptors.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    # A fatal error is written to the socket, so that the host learns of it before the process ends.
    faulthandler.enable(descriptor_socket, all_threads=False)
    os.register_at_fork(after_in_child=lambda: faulthandler.enable(2, all_threads=False))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    connection = Connection(frame_socket)
    begin = m.begin(connection.recv_bytes(m.FRAME_BYTES))
    os.environ.clear()
    os.environ.update(begin.environment)
    channel = DescriptorChannel(socket.socket(fileno=descriptor_socket))
    worker = Worker(connection, channel, begin.quota)
    report: dict[str, dict[str, str]] = {}
    if begin.jail is not None:
        granted = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in begin.jail.items()
        }
        close_others({0, 1, 2, frame_socket, descriptor_socket})
        report = confine(Jail(**granted)).describe()  # type: ignore[arg-type]
    worker.send(m.Ready(report))
    serve(worker, begin)

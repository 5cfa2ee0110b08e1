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
from .comfy_environment import listen
from .worker import Worker


def start(frames: int, descriptors: int) -> None:
    """Read what the host wants, confine this process, and serve until the host hangs up.

    Args:
        frames: descriptor of the connection for frames.
        descriptors: descriptor of the socket for descriptors.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable(descriptors, all_threads=False)  # tells the host before the process ends
    os.register_at_fork(after_in_child=lambda: faulthandler.enable(2, all_threads=False))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    connection = Connection(frames)
    begin = m.begin(connection.recv_bytes(m.FRAME_BYTES))
    os.environ.clear()
    os.environ.update(begin.environment)
    worker = Worker(connection, DescriptorChannel(socket.socket(fileno=descriptors)), begin.quota)
    report: dict[str, dict[str, str]] = {}
    if begin.jail is not None:
        granted = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in begin.jail.items()
        }
        close_others({0, 1, 2, frames, descriptors})
        report = confine(Jail(**granted)).describe()  # type: ignore[arg-type]
    worker.send(m.Ready(report))
    listen(worker, begin)

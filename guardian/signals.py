"""Signals as events of a loop: the handlers only append to a queue."""

from __future__ import annotations

import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def queue_signals(queue: list[int]) -> Generator[socket.socket, None, None]:
    """Append SIGTERM, SIGINT and SIGHUP to a queue instead of acting on them.

    SIGHUP is left alone when the process ignores it, as under nohup.

    Args:
        queue: the list that gets the numbers of the signals, in the order of their arrival.

    Yields:
        A socket that is readable after a signal. The caller reads and drops its bytes.
    """

    def append(number: int, _frame: FrameType | None) -> None:
        queue.append(number)

    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    previous_wakeup = signal.set_wakeup_fd(writer.fileno())
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous_handlers = {number: signal.signal(number, append) for number in numbers}
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(previous_wakeup)
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()

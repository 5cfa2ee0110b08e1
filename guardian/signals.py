"""Signals as events of a loop: they interrupt nothing, and none is lost."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def caught(arrived: list[int]) -> Iterator[socket.socket]:
    """SIGTERM, SIGINT and, but for nohup, SIGHUP are put into a list.

    Yields:
        What becomes readable whenever one has come; reading it is the caller's.
    """
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    old: dict[signal.Signals, Any] = {
        number: signal.signal(number, lambda number, _frame: arrived.append(number))
        for number in numbers
    }
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in old.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()

"""What the guardian tells: a plain log, the system's journal, and systemd itself.

The last two are a datagram each, as ``systemd.journal-fields(7)`` and ``sd_notify(3)`` describe.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from logging.handlers import RotatingFileHandler
from pathlib import Path

JOURNAL = "/run/systemd/journal/socket"
log = logging.getLogger(__name__)
PRIORITIES = {logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class Journal(logging.Handler):
    """Sends records with their fields to the system's journal, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """One entry; a journal that does not answer is not waited for."""
        fields = {
            "MESSAGE": record.getMessage(),
            "PRIORITY": str(PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "zimage-guardian",
            "ZIMAGE_EVENT": getattr(record, "event", "-"),
            "ZIMAGE_PID": str(getattr(record, "server", 0)),
        }
        entry = b"".join(_journal_field(name, value) for name, value in fields.items())
        _datagram(JOURNAL, entry)


def _journal_field(name: str, value: str) -> bytes:
    """Encode a field; a value of several lines needs the form with its length."""
    data = value.encode(errors="replace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)


def notify(address: str, text: str) -> None:
    """Tell systemd, if it has asked for it in ``$NOTIFY_SOCKET``."""
    if address:
        _datagram("\0" + address[1:] if address.startswith("@") else address, text.encode())


def open_log(folder: Path | None) -> None:
    """Standard error, the journal, and ``guardian.log`` (100 MB, seven of them) in a folder."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if os.path.exists(JOURNAL):
        handlers.append(Journal())
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handlers.append(
                RotatingFileHandler(
                    folder / "guardian.log", maxBytes=100 * 2**20, backupCount=6, encoding="utf-8"
                )
            )
        except OSError as error:
            log.warning("guardian.log: %s", error)
    form = logging.Formatter("%(asctime)s guardian: %(message)s")
    mine = logging.getLogger(__package__)
    mine.setLevel(logging.INFO)
    mine.propagate = False
    for handler in handlers:
        handler.setFormatter(form)
        mine.addHandler(handler)


def _datagram(address: str, data: bytes) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(data, address)

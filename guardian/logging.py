"""The guardian's log: standard error, a file and systemd's journal, and messages to systemd.

The last two are one datagram each, by `Native Journal Protocol`_ and ``sd_notify(3)``.

.. _Native Journal Protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from logging.handlers import RotatingFileHandler
from pathlib import Path

from .messages import event_text

JOURNAL = "/run/systemd/journal/socket"
PRIORITIES = {logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
LOG_BYTES = 100 * 2**20
OLD_LOGS = 6

log = logging.getLogger(__name__)


def log_event(
    name: str, *, pid: int | None = None, level: int = logging.INFO, **values: object
) -> None:
    """Log an event.

    Args:
        name: a key of :data:`.messages.EVENTS`.
        pid: the process of the server that the event is about.
        level: the level of the log record.
        **values: values for the placeholders of the text.
    """
    prefix = f"[{pid}] " if pid else ""
    fields = {"event": name, "server": pid or 0}
    log.log(level, "%s%s", prefix, event_text(name, **values), extra=fields)


def configure_logging(folder: Path | None) -> None:
    """Log to standard error, to the journal where there is one, and to a file.

    Args:
        folder: the folder of ``guardian.log``, which is made; None for no file.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if os.path.exists(JOURNAL):
        handlers.append(JournalHandler())
    file_error: OSError | None = None
    if folder is not None:
        try:
            handlers.append(_file_handler(folder))
        except OSError as error:
            file_error = error
    formatter = logging.Formatter("%(asctime)s guardian: %(message)s")
    package_log = logging.getLogger(__package__)
    package_log.setLevel(logging.INFO)
    package_log.propagate = False
    for handler in handlers:
        handler.setFormatter(formatter)
        package_log.addHandler(handler)
    if file_error is not None:
        log_event("log", level=logging.WARNING, path=folder, error=file_error)


def _file_handler(folder: Path) -> logging.Handler:
    folder.mkdir(parents=True, exist_ok=True)
    return RotatingFileHandler(
        folder / "guardian.log", maxBytes=LOG_BYTES, backupCount=OLD_LOGS, encoding="utf-8"
    )


class JournalHandler(logging.Handler):
    """Sends log records with their fields to systemd's journal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send one entry; it is dropped when the journal is not ready to take it."""
        fields = {
            "MESSAGE": record.getMessage(),
            "PRIORITY": str(PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "zimage-guardian",
            "ZIMAGE_EVENT": getattr(record, "event", "-"),
            "ZIMAGE_PID": str(getattr(record, "server", 0)),
        }
        entry = b"".join(_journal_field(name, value) for name, value in fields.items())
        _send_datagram(JOURNAL, entry)


def _journal_field(name: str, value: str) -> bytes:
    """Encode a field; a value of several lines needs the form with its length."""
    data = value.encode(errors="replace")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(data)), data)


def notify_systemd(address: str, text: str) -> None:
    """Send a state to systemd.

    Args:
        address: ``$NOTIFY_SOCKET``; without it nothing is sent.
        text: the state, as ``READY=1``.
    """
    if address:
        path = "\0" + address[1:] if address.startswith("@") else address
        _send_datagram(path, text.encode())


def _send_datagram(address: str, data: bytes) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(data, address)

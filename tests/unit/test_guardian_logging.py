"""The guardian's log, systemd's journal, and messages to systemd."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from zimage_comfyui import guardian
from zimage_comfyui.guardian import logging as guardian_logging
from zimage_comfyui.guardian.messages import MODES
from zimage_comfyui.guardian.mode import Mode


@pytest.mark.parametrize("abstract", [True, False])
def test_systemd_is_told(tmp_path: Path, abstract: bool) -> None:
    """A datagram to a path or to an abstract name."""
    name = f"\0zimage-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        guardian_logging.notify_systemd("@" + name[1:] if abstract else name, "READY=1")
        systemd.settimeout(10)
        assert systemd.recv(100) == b"READY=1"
    guardian_logging.notify_systemd("", "READY=1")
    guardian_logging.notify_systemd(str(tmp_path / "nobody"), "READY=1")


def decode_journal_entry(datagram: bytes) -> dict[str, str]:
    """Return the fields of an entry in systemd's native journal protocol."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", datagram)
            value = datagram[8 : 8 + size]
            assert datagram[8 + size : 9 + size] == b"\n"
            datagram = datagram[9 + size :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.mark.parametrize(
    "message", ["ended: exit 1", "已结束 / ended: 图\nPRIORITY=0\n\nlast line", "\n"]
)
def test_the_journal_gets_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    """The journal gets all fields, also with a message of several lines."""
    path = str(tmp_path / "journal")
    monkeypatch.setattr(guardian_logging, "JOURNAL", path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        record = logging.makeLogRecord(
            {"msg": "%s", "args": (message,), "levelno": 30, "event": "end", "server": 7}
        )
        guardian_logging.JournalHandler().emit(record)
        systemd.settimeout(10)
        assert decode_journal_entry(systemd.recv(1000)) == {
            "MESSAGE": message,
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "zimage-guardian",
            "ZIMAGE_EVENT": "end",
            "ZIMAGE_PID": "7",
        }


@pytest.fixture
def package_log() -> Iterator[logging.Logger]:
    """The logger of the package; its handlers are removed afterwards."""
    log = logging.getLogger(guardian.__name__)
    propagate = log.propagate
    handlers = list(log.handlers)
    yield log
    for handler in log.handlers[:]:
        if handler not in handlers:
            log.removeHandler(handler)
            handler.close()
    log.propagate = propagate


def test_an_event_is_one_line_in_the_log(package_log: logging.Logger, tmp_path: Path) -> None:
    """The line has the process and both languages, as the page's panel expects it."""
    guardian_logging.configure_logging(tmp_path / "logs")
    guardian_logging.log_event("spawn", pid=7, mode=MODES[Mode.NORMAL])
    (line,) = (tmp_path / "logs" / "guardian.log").read_text(encoding="utf-8").splitlines()
    assert line.endswith(" guardian: [7] 正在启动服务器（正常模式） / starting a server (normal)")


def test_a_log_that_cannot_be_written_is_reported(
    package_log: logging.Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The guardian goes on and says so on standard error, in both languages."""
    (tmp_path / "file").write_text("")
    guardian_logging.configure_logging(tmp_path / "file" / "logs")
    error = capsys.readouterr().err
    assert "无法写入日志" in error
    assert "cannot write the log" in error

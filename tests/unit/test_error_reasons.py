"""Reasons of the operating system."""

from __future__ import annotations

import errno
import os
from urllib.error import URLError

import pytest

from zimage_comfyui.errors import system


@pytest.mark.parametrize(
    ("error", "chinese", "english"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), "没有权限", "Permission denied"),
        (OSError(errno.ENOLCK, "No locks available"), "系统报告 No locks", "No locks available"),
        (URLError(ConnectionRefusedError(errno.ECONNREFUSED, "refused")), "连接被拒绝", "refused"),
        (OSError("GET /view: 404"), "GET /view: 404", "GET /view: 404"),
        (TimeoutError(), "TimeoutError", "TimeoutError"),
    ],
)
def test_reasons(error: OSError, chinese: str, english: str) -> None:
    """The English text is the system's; an error without a number is a library's own."""
    found = system.reason(error)
    assert found.chinese.startswith(chinese)
    assert found.english == english


def test_every_reason_has_a_name_of_the_system() -> None:
    """The Chinese texts belong to numbers that this system has."""
    for number in system._CHINESE:
        assert "Unknown error" not in os.strerror(number)

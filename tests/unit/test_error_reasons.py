"""Reasons of the operating system, and errors whose values are in both languages."""

from __future__ import annotations

import errno
import os
from urllib.error import URLError

import pytest

from zimage_comfyui.errors import ZImageError, system
from zimage_comfyui.errors.bilingual import Bilingual
from zimage_comfyui.validator.findings import LONG_VALUE_LENGTH, Findings


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


def test_a_finding_has_each_value_in_its_language() -> None:
    """Also one that is too long or not printable."""
    findings = Findings()
    error = ZImageError(
        "ZI-VALUE", name="cfg", found=0, expected=Bilingual("甲\n" * 999, "a" * 999)
    )
    findings.add_error(error)
    (finding,) = findings
    assert finding.chinese.startswith("cfg = 0 无效，应为 甲�")
    assert finding.english.startswith("Invalid value cfg = 0; expected aaa")
    assert "Bilingual" not in finding.chinese + finding.english
    assert len(finding.english) < LONG_VALUE_LENGTH + 60

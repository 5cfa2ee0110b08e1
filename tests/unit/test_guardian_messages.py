"""Texts of the guardian's log in both languages."""

from __future__ import annotations

import signal
import string

import pytest

from zimage_comfyui.errors.bilingual import Bilingual
from zimage_comfyui.guardian.messages import (
    EVENTS,
    MODES,
    REASONS,
    event_text,
    exit_status,
    reason_from_server,
)
from zimage_comfyui.guardian.mode import Mode


def placeholders(text: str) -> set[tuple[str | None, str | None]]:
    """Return the placeholders of a text with their formats."""
    return {(name, form) for _, name, form, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("text", [*EVENTS.values(), *REASONS.values()], ids=str)
def test_both_languages_have_the_same_placeholders(text: Bilingual) -> None:
    """Each text exists in both languages, and both show the same values in the same form."""
    assert text.chinese != text.english
    assert placeholders(text.chinese) == placeholders(text.english)
    assert " / " not in text.chinese + text.english


def test_a_mode_is_shown_in_the_language_of_its_line() -> None:
    """Every mode has a name in Chinese and in English."""
    assert set(MODES) == set(Mode)
    assert str(event_text("spawn", mode=MODES[Mode.SAFE])) == (
        "正在启动服务器（降级模式） / starting a server (degraded)"
    )


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, "退出码 0 / exit 0"),
        (5, "退出码 5 / exit 5"),
        (-signal.SIGKILL, "SIGKILL / SIGKILL"),
        (None, "退出状态未知 / exit status unknown"),
    ],
)
def test_the_end_of_a_process_is_named(code: int | None, expected: str) -> None:
    """A code, the name of a signal, or not known."""
    assert str(exit_status(code)) == expected


def test_what_a_server_gives_as_its_reason_is_told_in_one_language_at_a_time() -> None:
    """The page's panel shows one side of each line."""
    both = event_text(
        "kill", reason=reason_from_server("任务 p1 不理会中断 / p1 does not react to an interrupt")
    )
    assert str(both).split(" / ") == [
        "将被强制终止：任务 p1 不理会中断",
        "to be killed: p1 does not react to an interrupt",
    ]
    assert reason_from_server("CUDA error: x") == Bilingual("CUDA error: x", "CUDA error: x")

"""Texts in two languages."""

from __future__ import annotations

from zimage_comfyui.errors.bilingual import Bilingual


def test_a_value_is_shown_in_the_language_of_its_text() -> None:
    """A bilingual value gives each text its own language; another value is the same in both."""
    text = Bilingual("{what}：{number:.1f} 秒", "{what}: {number:.1f} s")
    shown = text.format(what=Bilingual("超时", "timeout"), number=2)
    assert shown == Bilingual("超时：2.0 秒", "timeout: 2.0 s")
    assert str(shown) == "超时：2.0 秒 / timeout: 2.0 s"


def test_braces_in_a_value_stay() -> None:
    """A value is inserted once and is no template itself."""
    error = Bilingual("{x}", "{y}")
    assert Bilingual("错：{error}", "bad: {error}").format(error=error) == Bilingual(
        "错：{x}", "bad: {y}"
    )

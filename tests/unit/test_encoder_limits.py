"""Which characters of a prompt an encoder's limit cuts, without any tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.text import encoder_limits, spans
from zimage_comfyui.text.encoder_limits import Cut, Piece

ONE_EACH = [(place, place + 1) for place in range(10)]


def test_a_text_that_fits_keeps_every_character() -> None:
    """Eight tokens and two special ones fit ten."""
    assert encoder_limits.cut(ONE_EACH[:8], 8, limit=10) == Cut(10, 10, 8)
    assert not encoder_limits.cut(ONE_EACH[:8], 8, limit=10).over


def test_one_token_too_many_cuts_what_it_stands_for() -> None:
    """The first character of the first token left out is the first that is cut."""
    found = encoder_limits.cut(ONE_EACH[:9], 9, limit=10)
    assert found == Cut(11, 10, 8)
    assert found.over


def test_half_a_character_counts_as_cut() -> None:
    """A character of three tokens, two of which fit, cannot be read."""
    rare = [(0, 1), (1, 2), (1, 2), (1, 2)]
    assert encoder_limits.cut(rare, 2, limit=5).position == 1


def test_an_encoder_with_nothing_to_read_gets_its_special_tokens_alone() -> None:
    """Two of 77."""
    assert encoder_limits.cut([], 0, encoder_limits.DUAL) == Cut(2, 77, 0)


def test_spans_are_joined_as_the_encoders_get_them() -> None:
    """Chinese without anything between, the rest by one blank."""
    routed = spans.route(spans.tag("[ZH] 一个 red ball 在 the lake 旁边"))
    assert encoder_limits.join(routed) == ("一个在旁边", "red ball the lake")


def test_each_encoder_cuts_its_own_spans_only() -> None:
    """Chinese beyond its limit is cut in every span that holds it; English between stays."""
    routed = spans.route(spans.tag("一个 red ball 在湖边"))
    chinese, other = encoder_limits.join(routed)
    parts = encoder_limits.pieces(routed, Cut(9, 5, 3), Cut(4, 77, len(other)))
    assert parts == [
        Piece("一个", True, False),
        Piece(" red ball ", False, False),
        Piece("在", True, False),
        Piece("湖边", True, True),
    ]
    assert chinese == "一个在湖边"


def test_blanks_around_a_word_do_not_move_the_cut() -> None:
    """The joined text has no blanks at its ends; the prompt has."""
    routed = spans.route(spans.tag("[EN]  a red ball "))
    parts = encoder_limits.pieces(routed, Cut(2, 77, 0), Cut(5, 4, 2))
    assert [(part.text, part.cut) for part in parts] == [("a ", False), ("red ball", True)]
    routed = spans.route(spans.tag("红 a red ball 色"))
    parts = encoder_limits.pieces(routed, Cut(4, 77, 2), Cut(5, 4, 2))
    assert [part.text for part in parts if part.cut] == ["red ball "]


words = st.text(alphabet="ab 红色，,1 ", max_size=40)


@given(words, st.integers(0, 12), st.integers(0, 12))
def test_pieces_are_the_prompt_and_what_is_kept_is_what_is_read(
    text: str, kept_chinese: int, kept_other: int
) -> None:
    """Joined they are the prompt; kept letters are the kept letters of the two texts, in order."""
    routed = spans.route(spans.tag(text))
    chinese, other = encoder_limits.join(routed)
    cuts = Cut(99, 77, min(kept_chinese, len(chinese))), Cut(99, 77, min(kept_other, len(other)))
    parts = encoder_limits.pieces(routed, *cuts)
    assert "".join(part.text for part in parts) == "".join(span.text for span in routed)
    for is_chinese, whole, cut in ((True, chinese, cuts[0]), (False, other, cuts[1])):
        kept = "".join(p.text for p in parts if p.chinese == is_chinese and not p.cut)
        assert kept.replace(" ", "") == whole[: cut.position].replace(" ", "")


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_a_limit_below_the_special_tokens_keeps_nothing(limit: int) -> None:
    """No negative places."""
    assert encoder_limits.cut(ONE_EACH, 10, limit).position == 0

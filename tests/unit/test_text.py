"""Prompt rules: refusals with positions, cleaning, Chinese spans and tags, over all of Unicode."""

from __future__ import annotations

import itertools
import sys
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.text import prompt_rules, spans

CHINESE = st.text(st.sampled_from("红色的球，左边。“龘”𠮷𰻞〇"), min_size=1)
OTHER = st.text(st.sampled_from("a cat, 3D T-shirt! é 🎈 привет"), min_size=1)
MIXED = st.lists(st.one_of(CHINESE, OTHER, st.text(max_size=20)), max_size=8).map("".join)


@pytest.mark.parametrize(
    ("character", "code"),
    [
        ("\ufffd", "ZI-TEXT-REPLACEMENT"),
        ("\ud83d", "ZI-TEXT-SURROGATE"),
        ("\ue000", "ZI-TEXT-PRIVATE"),
        ("\U0010fffd", "ZI-TEXT-PRIVATE"),
        ("\u0378", "ZI-TEXT-UNASSIGNED"),
        ("\uffff", "ZI-TEXT-UNASSIGNED"),
        ("\u202e", "ZI-TEXT-BIDI"),
        ("\u2066", "ZI-TEXT-BIDI"),
    ],
)
def test_unusable_characters_are_refused_with_their_position(character: str, code: str) -> None:
    """The code says why, the message which character, counted from 1."""
    with pytest.raises(ZImageError) as caught:
        prompt_rules.check(f"红色的球{character}和猫")
    assert caught.value.code == code
    assert caught.value.found["position"] == 5
    assert f"U+{ord(character):04X}" in str(caught.value)
    str(caught.value).encode()  # can be sent


def test_every_code_point_is_either_refused_or_cleaned_for_good() -> None:
    """All 1,114,112 code points: refused by category, or stable, visible and in NFC."""
    refused = dict.fromkeys(("Cs", "Co", "Cn"), 0)
    category = {name: regex.compile(rf"\p{{{name}}}") for name in refused}
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if prompt_rules.find_refused(character):
            for name, pattern in category.items():
                refused[name] += bool(pattern.match(character))
            continue
        cleaned = prompt_rules.clean(f"a{character}b")
        assert cleaned == prompt_rules.clean(cleaned), hex(number)
        assert unicodedata.is_normalized("NFC", cleaned), hex(number)
    assert refused["Cs"] == 2048
    assert refused["Co"] == 6400 + 2 * 65534
    assert refused["Cn"] > 800_000


@given(MIXED)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    """Also for characters that only together have a normal form."""
    once = prompt_rules.clean(text)
    assert prompt_rules.clean(once) == once
    assert not regex.search(r"[\p{Default_Ignorable_Code_Point}\p{Cc}--\n]", once, regex.V1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ＡＢｃ１２３", "ABc123"),
        ("红\u200b色\ufeff的\u00ad球", "红色的球"),
        ("e\u200b\u0301", "é"),
        ("a\r\nb\rc\td\u3000e", "a\nb\nc d e"),
        ("，。！（）", "，。！（）"),
        ("豈", "豈"),
        ("a\x00b\x1bc", "abc"),
    ],
)
def test_cleaning(given: str, expected: str) -> None:
    """Full-width letters, invisible characters, line ends; Chinese punctuation stays."""
    assert prompt_rules.prepare(given) == expected


def test_newer_han_and_emoji_count_as_characters() -> None:
    """Extension B (2001), G (2020), I (2023), J (2025) and an emoji of 2024."""
    for character in "𠮷\U00030000\U0002ebf0\U00033000\U0001fae9":
        assert prompt_rules.prepare(character) == character


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("一件红色T恤", [("一件红色T恤", True)]),
        ("T恤 and jeans", [("T恤", True), (" and jeans", False)]),
        ("Wi-Fi信号", [("Wi-Fi", False), ("信号", True)]),
        ("苹果USB-C接口", [("苹果", True), ("USB-C", False), ("接口", True)]),
        ("No.1品牌", [("No.1", False), ("品牌", True)]),
        ("R&B音乐", [("R&B", False), ("音乐", True)]),
        ("1,000元", [("1,000元", True)]),
        ("10:30开始", [("10:30开始", True)]),
        ("3-5岁儿童", [("3-5岁儿童", True)]),
        ("100%纯棉", [("100%纯棉", True)]),
        ("只要￥99元 sale", [("只要￥99元", True), (" sale", False)]),
        ("$20优惠", [("$20优惠", True)]),
        ("高达99% off", [("高达99%", True), (" off", False)]),
        ("水温37.5℃左右", [("水温37.5℃左右", True)]),
        ("T恤100%cotton", [("T恤", True), ("100%cotton", False)]),
        ("100％棉T恤 sale", [("100％棉T恤", True), (" sale", False)]),
        ("10×20厘米", [("10×20厘米", True)]),
        ("10：30开始，3～5岁", [("10：30开始，3～5岁", True)]),
        ("20㎡房间", [("20㎡房间", True)]),
        ("①号楼Ⅳ代½杯", [("①号楼Ⅳ代½杯", True)]),
        ("㊗新年 🈶 sale", [("㊗新年 🈶", True), (" sale", False)]),
        ("½ cup, 20㎡ room, ①", [("½ cup, 20㎡ room, ①", False)]),
        ("高达50㎡ flat", [("高达50㎡", True), (" flat", False)]),
        ("3D打印的MP3播放器", [("3D打印的MP3播放器", True)]),
        ("2024年，卡拉OK。", [("2024年，卡拉OK。", True)]),
        ("一只cat在table上", [("一只", True), ("cat", False), ("在", True), ("table", False),
                          ("上", True)]),
        ("iPhone手机", [("iPhone", False), ("手机", True)]),
        ("红色 ball, 左边", [("红色", True), (" ball, ", False), ("左边", True)]),
        ("“龙”与dragon", [("“龙”与", True), ("dragon", False)]),
        ("he said “yes”…", [("he said “yes”…", False)]),
        ("🎈气球🎈", [("🎈", False), ("气球🎈", True)]),
        ("𠮷野家", [("𠮷野家", True)]),
        ("", []),
    ],
)  # fmt: skip
def test_spans(text: str, expected: list) -> None:
    """Han in all planes, Chinese punctuation, and mixed words in one span."""
    assert [(span.text, span.chinese) for span in spans.split(text)] == expected


@given(MIXED)
def test_spans_joined_are_the_text(text: str) -> None:
    """Nothing is lost, doubled or empty; neighbours differ in kind; Han is never sent to CLIP."""
    parts = spans.split(text)
    assert "".join(part.text for part in parts) == text
    assert all(part.text for part in parts)
    assert all(a.chinese != b.chinese for a, b in itertools.pairwise(parts))
    assert not any(spans.has_chinese(part.text) for part in parts if not part.chinese)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("红色的球", "[ZH] 红色的球"),
        ("[ZH] 红色的球", "[ZH] 红色的球"),
        ("【zh】红色的球", "[ZH] 红色的球"),
        ("[EN] 红色的球", "[EN] 红色的球"),
        ("[zh] red ball", "[ZH] red ball"),
        ("red ball", "red ball"),
        ("red [ZH] ball", "red [ZH] ball"),
        ("[EN][ZH] 球", "[EN] 球"),
    ],
)
def test_tags(text: str, shown: str) -> None:
    """Added when Chinese is present, kept when a user wrote one."""
    assert str(spans.tag(text)) == shown


@given(MIXED)
def test_tagging_twice_is_tagging_once(text: str) -> None:
    """A prompt read back from a picture is not tagged again."""
    once = str(spans.tag(prompt_rules.clean(text)))
    assert str(spans.tag(once)) == once


def test_taking_a_tag_off_leaves_the_rest_as_it_is() -> None:
    """Qwen3 gets the prompt to the last blank; only a tag in front goes."""
    assert spans.take_off(" 红 ball \n\n") == ("", " 红 ball \n\n")
    assert spans.take_off("[zh] 红 \n") == ("[ZH]", "红 \n")


def test_a_tag_forces_the_encoder() -> None:
    """[EN] sends Chinese to CLIP, [ZH] sends plain English to the Chinese encoder."""
    assert [s.chinese for s in spans.route(spans.tag("[EN] 红 ball"))] == [False]
    assert [s.chinese for s in spans.route(spans.tag("[ZH] red ball"))] == [True]
    assert [s.chinese for s in spans.route(spans.tag("红色ball"))] == [True, False]


def test_long_prompts() -> None:
    """10,000 characters are read; more than the limit is refused with both numbers."""
    text = "红色的T恤和blue cat，" * 800
    cleaned = prompt_rules.prepare(text)
    assert cleaned == text
    assert [span.text for span in spans.split(cleaned)][1:3] == ["blue cat", "，红色的T恤和"]
    with pytest.raises(ZImageError, match="100001"):
        prompt_rules.check("a" * 100_001)

"""The Chinese and other spans of a prompt, and the tag that selects the encoders for them.

``[ZH]`` selects the Chinese pipeline: Chinese spans go to the Chinese encoder, everything else to
CLIP. ``[EN]`` sends everything to CLIP. Without a tag, ``[ZH]`` is added when there is Chinese.
"""

from __future__ import annotations

from dataclasses import dataclass

import regex

ZH, EN = "[ZH]", "[EN]"
_TAG = regex.compile(r"\s*[\[［【](zh|en)[\]］】]\s*", regex.IGNORECASE)
# Enclosed and squared ideographs (㊗, ㈱, 🈶) count as Han; Unicode classes them as symbols.
_HAN = (
    r"[\p{Han}\p{Bopomofo}\u3220-\u3247\u3280-\u32b0\u32c0-\u32cb\u3358-\u3370\u337b-\u337f"
    r"\u33e0-\u33fe\U0001f210-\U0001f23b\U0001f240-\U0001f248\U0001f250\U0001f251]"
)
# CJK symbols and punctuation, and full-width forms of ASCII punctuation.
_MARKS = (
    "\u3001-\u3003\u3008-\u3020\u3030\ufe10-\ufe1f\ufe30-\ufe4f"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)
# Quotation marks, dash, ellipsis, and signs of money and measure that Chinese shares with other
# languages.
_SHARED_MARKS = (
    "\u2018\u2019\u201c\u201d\u2014\u2026\u00b7%\u2030\u00b0\u2103\u2109\u00a5\uffe5"
    "\u00bc-\u00be\u2116\u2160-\u217f\u2460-\u249b\u3380-\u33df"  # ½杯, №, Ⅳ代, ①号, ㎡
)
# Letters and digits that belong to a Chinese word when they touch a Han character: numbers
# (2024年, 1,000元, 10：30开始, 10×20厘米, ￥99起, 100％纯棉, 20㎡房间), one or two letters
# (T恤, 卡拉OK), and short capital names (LED灯). Parts of a longer word (Wi-Fi信号, No.1品牌)
# stay with it.
_UNIT = r"%％‰°℃℉\u3380-\u33df"
_NUMBER = rf"[$€£¥￥]?\d+(?:[.,:/~×．：／～–-]\d+)*[{_UNIT}]?"
_PART = rf"(?:{_NUMBER}|[A-Za-z0-9]{{1,2}}|[A-Z0-9]{{3,4}})"
_INNER = r"[-.,:/~×'’&+_]"
_BEGIN = rf"(?<![A-Za-z0-9]|[A-Za-z0-9]{_INNER})"
_END = rf"(?![A-Za-z0-9{_UNIT}]|{_INNER}[A-Za-z0-9])"
_CHINESE = regex.compile(
    rf"(?:{_BEGIN}{_PART}(?={_HAN})|(?<={_HAN}){_PART}{_END}"
    rf"|{_HAN}|[{_MARKS}]|(?<={_HAN})[{_SHARED_MARKS}]|[{_SHARED_MARKS}](?={_HAN}))+"
)
_OTHER_WORD = regex.compile(r"[\p{L}\p{N}]")


@dataclass(frozen=True)
class Span:
    """A part of a text, and whether it is read as Chinese."""

    text: str
    chinese: bool


@dataclass(frozen=True)
class Tagged:
    """A prompt without its tag, and the tag: ``[ZH]``, ``[EN]`` or nothing."""

    tag: str
    body: str

    def __str__(self) -> str:
        """Return the prompt with its tag in front."""
        return f"{self.tag} {self.body}" if self.tag else self.body


def has_chinese(text: str) -> bool:
    """Return whether a text holds at least one Han or Bopomofo character."""
    return regex.search(_HAN, text) is not None


def tag(text: str) -> Tagged:
    """Split a user's tag off, or choose a tag. Tagging the result again changes nothing."""
    chosen, body = take_off(text)
    if not chosen and has_chinese(body):
        chosen = ZH
    return Tagged(chosen, body.strip() if chosen else text)


def take_off(text: str) -> tuple[str, str]:
    """Return the first of the tags at the start of a text, if any, and the text without tags."""
    chosen = ""
    while match := _TAG.match(text):
        chosen = chosen or f"[{match.group(1).upper()}]"
        text = text[match.end() :]
    return chosen, text


def split(text: str) -> list[Span]:
    """Return the spans in order. Joined, they are the text."""
    spans: list[Span] = []
    position = 0
    for match in _CHINESE.finditer(text):
        if match.start() > position:
            _append(spans, text[position : match.start()], chinese=False)
        _append(spans, match.group(), chinese=True)
        position = match.end()
    if position < len(text):
        _append(spans, text[position:], chinese=False)
    return spans


def route(prompt: Tagged) -> list[Span]:
    """Return the spans of a prompt for the encoders that its tag selects."""
    if prompt.tag == EN:
        return [Span(prompt.body, False)] if prompt.body else []
    spans = split(prompt.body)
    if prompt.tag == ZH and not any(span.chinese for span in spans):
        return [Span(span.text, True) for span in spans]
    return spans


def _append(spans: list[Span], text: str, *, chinese: bool) -> None:
    """Add a span, or extend the last one by a text of its kind or one without a word."""
    wordless = not chinese and not _OTHER_WORD.search(text)
    if spans and (wordless or spans[-1].chinese == chinese):
        spans[-1] = Span(spans[-1].text + text, spans[-1].chinese)
    else:
        spans.append(Span(text, chinese))

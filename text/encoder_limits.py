"""What a prompt loses to an encoder's limit: which characters are read, which are cut. No torch.

A tokenizer says for each token which characters it stands for. Tokens beyond the limit are left
out from the end, and every character that one of them stands for counts as cut: half a character
(byte-pair encoding makes several tokens of a rare one) cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .spans import Span

QWEN3 = 512
"""Tokens that the official pipeline reads, its chat template included."""
QWEN3_MOST = 4096
"""Tokens above which a prompt is refused, eight times as many: memory grows with the square."""
DUAL = 77
"""Tokens of each encoder of a pair, the first and the last special one included."""


@dataclass(frozen=True)
class Cut:
    """A text at an encoder's limit.

    Attributes:
        count: tokens that the whole text takes, special ones included.
        limit: tokens that are read.
        position: characters that are read; the length of the text when all are.
    """

    count: int
    limit: int
    position: int

    @property
    def over(self) -> bool:
        """True when tokens are left out."""
        return self.count > self.limit


@dataclass(frozen=True)
class Piece:
    """A part of a prompt: who reads it, and whether it is cut."""

    text: str
    chinese: bool
    cut: bool


def cut(offsets: Sequence[tuple[int, int]], length: int, limit: int, special: int = 2) -> Cut:
    """Where a text is cut.

    Args:
        offsets: first character and the one after the last of each token, special ones left out.
        length: characters of the text.
        limit: tokens that fit, special ones included.
        special: tokens that the encoder adds.
    """
    dropped = offsets[max(0, limit - special) :]
    position = min((start for start, _ in dropped), default=length)
    return Cut(len(offsets) + special, limit, position)


def join(spans: Iterable[Span]) -> tuple[str, str]:
    """What each encoder of a pair gets: (Chinese, joined; the rest, joined by blanks)."""
    spans = list(spans)
    chinese = "".join(span.text for span in spans if span.chinese)
    return chinese, " ".join(span.text.strip() for span in spans if not span.chinese)


def pieces(spans: Iterable[Span], chinese: Cut, other: Cut) -> list[Piece]:
    """The spans of a prompt in order, each divided where its encoder's limit cuts it.

    Args:
        chinese, other: the cuts of the two texts of :func:`join`.
    """
    found: list[Piece] = []
    at = {True: 0, False: 0}
    position = {True: chinese.position, False: other.position}
    for span in spans:
        lead = 0 if span.chinese else len(span.text) - len(span.text.lstrip())
        width = len(span.text) if span.chinese else len(span.text.strip())
        left = position[span.chinese] - at[span.chinese]
        at[span.chinese] += width if span.chinese else width + 1
        kept = len(span.text) if left >= width else lead + max(0, left)
        for text, gone in ((span.text[:kept], False), (span.text[kept:], True)):
            if text:
                found.append(Piece(text, span.chinese, gone))
    return found

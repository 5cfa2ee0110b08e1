"""The token limit of an encoder: which characters of a prompt it reads, and which it cuts.

A tokenizer returns the characters that each token encodes. Tokens beyond the limit are removed
from the end, and each character that a removed token encodes counts as cut. Byte-pair encoding
makes several tokens of a rare character: it counts as cut unless the encoder reads all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .spans import Span

QWEN3 = 512
"""Tokens that the official pipeline reads, its chat template included."""
QWEN3_MOST = 4096
"""Tokens above which a prompt is refused, because memory grows with the square of their number."""
DUAL = 77
"""Tokens of each encoder of a pair, the first and the last special one included."""


@dataclass(frozen=True)
class Cut:
    """Where an encoder cuts a text.

    Attributes:
        count: The tokens of the whole text, special ones included.
        limit: The tokens that are read.
        position: The characters that are read. It is the length of the text if all are.
    """

    count: int
    limit: int
    position: int

    @property
    def over(self) -> bool:
        """Whether tokens are removed."""
        return self.count > self.limit


@dataclass(frozen=True)
class Piece:
    """A part of a prompt: whether the Chinese encoder reads it, and whether it is cut."""

    text: str
    chinese: bool
    cut: bool


def cut(offsets: Sequence[tuple[int, int]], length: int, limit: int, special: int = 2) -> Cut:
    """Return where a text is cut.

    Args:
        offsets: The first character and the one after the last, for each token that is not special.
        length: The characters of the text.
        limit: The tokens that fit, special ones included.
        special: The number of special tokens that the encoder adds.
    """
    removed = offsets[max(0, limit - special) :]
    position = min((start for start, _ in removed), default=length)
    return Cut(len(offsets) + special, limit, position)


def join(spans: Iterable[Span]) -> tuple[str, str]:
    """Return the texts for the encoders of a pair: Chinese, and the rest joined by spaces."""
    spans = list(spans)
    chinese = "".join(span.text for span in spans if span.chinese)
    return chinese, " ".join(span.text.strip() for span in spans if not span.chinese)


def pieces(spans: Iterable[Span], chinese: Cut, other: Cut) -> list[Piece]:
    """Return the spans of a prompt in order, each divided where its encoder's limit cuts it.

    Args:
        spans: The spans of the prompt.
        chinese: The cut of the Chinese text of :func:`join`.
        other: The cut of the other text.
    """
    pieces: list[Piece] = []
    readable = {True: chinese.position, False: other.position}
    for span in spans:
        length = _readable_length(span, readable[span.chinese])
        separator = "" if span.chinese else " "
        readable[span.chinese] -= _joined_length(span) + len(separator)
        for text, is_cut in ((span.text[:length], False), (span.text[length:], True)):
            if text:
                pieces.append(Piece(text, span.chinese, is_cut))
    return pieces


def _joined_length(span: Span) -> int:
    """Return the characters of a span in the joined text of :func:`join`."""
    return len(span.text) if span.chinese else len(span.text.strip())


def _readable_length(span: Span, readable: int) -> int:
    """Return the characters of a span that are read, if ``readable`` of its joined text are.

    Spaces around a span that is not Chinese are not in the joined text. They count as read
    together with the text beside them.
    """
    leading = 0 if span.chinese else len(span.text) - len(span.text.lstrip())
    return len(span.text) if readable >= _joined_length(span) else leading + max(0, readable)

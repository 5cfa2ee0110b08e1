"""Which characters a prompt may hold, and the cleaning that every prompt gets.

Character classes are those of the Unicode Standard, taken from the ``regex`` package (which every
ComfyUI has through transformers), because Python's own tables are years older: Han characters of
newer planes and new emoji would count as unassigned.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import regex

from ..errors import ZImageError

LIMIT = 100_000
"""Characters in one prompt; a guard against accidents, far above what an encoder reads."""

# U+FFFD is what remains of text that was decoded wrongly, surrogates and private-use characters
# have no meaning outside the program that made them, and overrides show another text than the
# model reads.
_REFUSED = {
    "ZI-TEXT-REPLACEMENT": regex.compile("\ufffd"),
    "ZI-TEXT-SURROGATE": regex.compile(r"\p{Cs}"),
    "ZI-TEXT-PRIVATE": regex.compile(r"\p{Co}"),
    "ZI-TEXT-UNASSIGNED": regex.compile(r"\p{Cn}"),
    "ZI-TEXT-BIDI": regex.compile("[\u202a-\u202e\u2066-\u2069]"),
}
_ANY_REFUSED = regex.compile("\ufffd|[\u202a-\u202e\u2066-\u2069]|\\p{Cs}|\\p{Co}|\\p{Cn}")
_LINE_END = regex.compile("\r\n?|[\u0085\u2028\u2029\u000b\u000c]")
_BLANK = regex.compile(r"[\t\p{Zs}]")
_INVISIBLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\ufff9-\ufffb\p{Cc}--\n]", regex.V1)
_FULL_WIDTH = {
    wide: wide - 0xFEE0
    for first, last in ("09", "AZ", "az")
    for wide in range(ord(first) + 0xFEE0, ord(last) + 0xFEE1)
}


@dataclass(frozen=True)
class Refusal:
    """A character that a prompt must not hold.

    Attributes:
        code: a key of the error catalogue.
        position: its index in the text, in code points from 0.
        character: ``U+XXXX``.
    """

    code: str
    position: int
    character: str


def refusals(text: str) -> Iterator[Refusal]:
    """Every character that cannot be used, in order."""
    for found in _ANY_REFUSED.finditer(text):
        code = next(code for code, pattern in _REFUSED.items() if pattern.fullmatch(found.group()))
        yield Refusal(code, found.start(), f"U+{ord(found.group()):04X}")


def find_refused(text: str) -> Refusal | None:
    """The first character that cannot be used, if there is one."""
    return next(refusals(text), None)


def check(text: str) -> None:
    """Refuse a prompt that cannot mean what its author sees.

    Raises:
        ZImageError: ``ZI-TEXT-LONG``, or the code of :func:`find_refused`.
    """
    if len(text) > LIMIT:
        raise ZImageError("ZI-TEXT-LONG", found=len(text), maximum=LIMIT)
    refusal = find_refused(text)
    if refusal:
        raise ZImageError(
            refusal.code, found=refusal.character, position=refusal.position + 1,
            before=text[max(0, refusal.position - 12) : refusal.position],
        )  # fmt: skip


def clean(text: str) -> str:
    """A checked prompt in the one form that encoders get; cleaning twice changes nothing.

    Invisible characters go, full-width letters and digits become ASCII, every line end becomes
    ``\\n`` and every other blank a space, and the result is in Unicode's form NFC.
    Chinese punctuation stays as it is.
    """
    text = _LINE_END.sub("\n", text)
    text = _BLANK.sub(" ", text)
    text = _INVISIBLE.sub("", text)
    return unicodedata.normalize("NFC", text.translate(_FULL_WIDTH))


def prepare(text: str) -> str:
    """:func:`check`, then :func:`clean`."""
    check(text)
    return clean(text)

"""The characters that a prompt must not hold, and the cleaning that every prompt gets.

Character classes come from the ``regex`` package, which every ComfyUI has through transformers.
Python's own Unicode tables are years older: Han characters of newer planes and new emoji would
count as unassigned.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import regex

from ..errors import ZImageError

LIMIT = 100_000
"""Maximum number of characters in one prompt, far above what an encoder reads."""
_CONTEXT = 12
"""Characters before a refused one that its message shows."""

# U+FFFD results from wrong decoding. Surrogates and private-use characters have no meaning outside
# the program that wrote them. Direction overrides display another text than the model reads.
_REFUSED = {
    "ZI-TEXT-REPLACEMENT": regex.compile("\ufffd"),
    "ZI-TEXT-SURROGATE": regex.compile(r"\p{Cs}"),
    "ZI-TEXT-PRIVATE": regex.compile(r"\p{Co}"),
    "ZI-TEXT-UNASSIGNED": regex.compile(r"\p{Cn}"),
    "ZI-TEXT-BIDI": regex.compile("[\u202a-\u202e\u2066-\u2069]"),
}
_ANY_REFUSED = regex.compile("\ufffd|[\u202a-\u202e\u2066-\u2069]|\\p{Cs}|\\p{Co}|\\p{Cn}")
_LINE_END = regex.compile("\r\n?|[\u0085\u2028\u2029\u000b\u000c]")
_SPACE = regex.compile(r"[\t\p{Zs}]")
_INVISIBLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\ufff9-\ufffb\p{Cc}--\n]", regex.V1)
_FULL_WIDTH = {
    wide: wide - 0xFEE0
    for first, last in ("09", "AZ", "az")
    for wide in range(ord(first) + 0xFEE0, ord(last) + 0xFEE1)
}


@dataclass(frozen=True)
class RefusedCharacter:
    """A character that a prompt must not hold.

    Attributes:
        code: A key of the error catalogue.
        position: The index in the text, in code points from 0.
        character: ``U+XXXX``.
    """

    code: str
    position: int
    character: str


def refused_characters(text: str) -> Iterator[RefusedCharacter]:
    """Yield every character that a prompt must not hold, in order."""
    if text.isascii():  # spares most names and many prompts a search
        return
    # A search that releases the interpreter waits for other threads afterwards.
    for match in _ANY_REFUSED.finditer(text, concurrent=False):
        character = match.group()
        code = next(code for code, pattern in _REFUSED.items() if pattern.fullmatch(character))
        yield RefusedCharacter(code, match.start(), f"U+{ord(character):04X}")


def find_refused(text: str) -> RefusedCharacter | None:
    """Return the first character that a prompt must not hold, if there is one."""
    return next(refused_characters(text), None)


def check(text: str) -> None:
    """Refuse a prompt that does not mean what its author sees.

    Raises:
        ZImageError: ``ZI-TEXT-LONG``, or the code of :func:`find_refused`.
    """
    if len(text) > LIMIT:
        raise ZImageError("ZI-TEXT-LONG", found=len(text), maximum=LIMIT)
    refused = find_refused(text)
    if refused:
        raise ZImageError(
            refused.code,
            found=refused.character,
            position=refused.position + 1,
            before=text[max(0, refused.position - _CONTEXT) : refused.position],
        )


def clean(text: str) -> str:
    r"""Return a checked prompt in the form that encoders get. Cleaning twice changes nothing.

    Invisible characters are removed, full-width letters and digits become ASCII, every line end
    becomes ``\n``, every other whitespace character a space, and the result is in Unicode's
    form NFC. Chinese punctuation stays as it is.
    """
    text = _LINE_END.sub("\n", text)
    text = _SPACE.sub(" ", text)
    text = _INVISIBLE.sub("", text)
    return unicodedata.normalize("NFC", text.translate(_FULL_WIDTH))


def prepare(text: str) -> str:
    """Check a prompt, and return it cleaned."""
    check(text)
    return clean(text)

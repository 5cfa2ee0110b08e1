"""Every error code of the pack, in Chinese and English.

An error says what was found, what was expected and what to do. Codes are stable: clients may
match on them, so a code is never given another meaning. Placeholders in braces are filled from
the keyword arguments of :class:`ZImageError`.
"""

from __future__ import annotations

from . import commands, generation, sandbox, server, workflows

CATALOGUE = generation.TEXTS | workflows.TEXTS | server.TEXTS | commands.TEXTS | sandbox.TEXTS
"""Code: text in Chinese, text in English."""
SANDBOXED = "zimage_sandbox"
"""Attribute of what is raised for a pack in a sandbox: its name. Nothing else is known to be so."""


class Said(str):
    """Text in English with the same in Chinese: what was found, where it is put into words.

    Args:
        english: the text.
        chinese: its ``zh``.
    """

    zh: str

    def __new__(cls, english: str, chinese: str) -> Said:
        """See the class."""
        made = super().__new__(cls, english)
        made.zh = chinese
        return made


def in_chinese(value: object) -> object:
    """The Chinese text of a :class:`Said`; anything else is what it is."""
    return getattr(value, "zh", value)


class ZImageError(Exception):
    """An error with a stable code, told in Chinese and English.

    Args:
        code: a key of :data:`CATALOGUE`; an unknown code is a programming error (``KeyError``).
        found: values for the placeholders of the catalogue text.

    ``str(error)`` is one line, ``[CODE] 中文 / English``, which is what ComfyUI shows in the page
    and stores in ``/history``.
    """

    def __init__(self, code: str, **found: object) -> None:
        chinese, english = CATALOGUE[code]
        self.code = code
        self.found = found
        self.chinese = chinese.format(**{key: in_chinese(one) for key, one in found.items()})
        self.english = english.format(**found)
        super().__init__(f"[{code}] {self.chinese} / {self.english}")

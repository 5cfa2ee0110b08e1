"""Every error code of the pack, in Chinese and English.

An error says what was found, what was expected and what to do. Codes are stable: clients may
match on them, so a code is never given another meaning. Placeholders in braces are filled from
the keyword arguments of :class:`ZImageError`.
"""

from __future__ import annotations

from . import commands, generation, sandbox, server, workflows

CATALOGUE = generation.TEXTS | workflows.TEXTS | server.TEXTS | commands.TEXTS | sandbox.TEXTS
"""Code: text in Chinese, text in English."""


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
        self.chinese = chinese.format(**found)
        self.english = english.format(**found)
        super().__init__(f"[{code}] {self.chinese} / {self.english}")

"""Every error code of the pack, in Chinese and English.

An error says what was found, what was expected and what to do. Codes are stable: clients may
match on them, so a code never gets another meaning. The keyword arguments of
:class:`ZImageError` replace the placeholders in braces.
"""

from __future__ import annotations

from . import commands, generation, sandbox, server, workflows

CATALOGUE = generation.TEXTS | workflows.TEXTS | server.TEXTS | commands.TEXTS | sandbox.TEXTS
"""Texts by code."""
SANDBOXED = "zimage_sandbox"
"""Attribute of an exception from a pack in a sandbox: the name of the pack."""


class ZImageError(Exception):
    """An error with a stable code, in Chinese and English.

    ``str(error)`` is one line, ``[CODE] 中文 / English``. ComfyUI shows it in the page and
    stores it in ``/history``.

    Args:
        code: a key of :data:`CATALOGUE`. An unknown code is a programming error (``KeyError``).
        **found: values for the placeholders. A :class:`.Bilingual` value gives each text its own
            language.
    """

    def __init__(self, code: str, **found: object) -> None:
        text = CATALOGUE[code].format(**found)
        self.code = code
        self.found = found
        self.chinese = text.chinese
        self.english = text.english
        super().__init__(f"[{code}] {text}")

"""What the command line says and how it stops: messages to standard error, results to output."""

from __future__ import annotations

import json
import re
import sys

from ..errors import ZImageError

DONE, FAILED, USAGE, LACKING = 0, 1, 2, 3
"""Exit codes: done; the job failed; wrong usage; the machine lacks something."""


class Stop(ZImageError):
    """Ends a command with an exit status and one sentence in Chinese and in English.

    Args:
        status: one of the exit codes above, never ``DONE``.
        code: a key of the error catalogue.
        found: values for the catalogue text.
    """

    def __init__(self, status: int, code: str, **found: object) -> None:
        super().__init__(code, **found)
        self.status = status

    @classmethod
    def from_node(cls, status: int, message: str) -> Stop:
        """Repeats a node's own coded error; any other message becomes ``ZI-RUN-FAILED``."""
        stop = cls(status, "ZI-RUN-FAILED", found=message)
        told = re.fullmatch(r"\[(ZI-[A-Z-]+)\] (.+?) / (.+)", message, re.DOTALL)
        if told:
            stop.code, stop.chinese, stop.english = told.groups()
        return stop


def say(chinese: str, english: str) -> None:
    """Writes one bilingual message to standard error."""
    sys.stderr.write(f"{chinese} / {english}\n")
    sys.stderr.flush()


def complain(error: ZImageError, as_json: bool = False) -> None:
    """Writes an error to standard error, one line per language.

    Args:
        as_json: also print it as the JSON document that a ``--json`` run promises.
    """
    if as_json:
        document({"error": {"code": error.code, "zh": error.chinese, "en": error.english}})
    sys.stderr.write(f"[{error.code}] {error.chinese}\n[{error.code}] {error.english}\n")
    sys.stderr.flush()


def result(text: str) -> None:
    """Writes one line of a command's result to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def document(value: object) -> None:
    """Writes the one JSON document of a ``--json`` run to standard output."""
    result(json.dumps(value, ensure_ascii=False, indent=2))

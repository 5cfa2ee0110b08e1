"""What the command line says and how it stops: messages to standard error, results to output."""

from __future__ import annotations

import codecs
import io
import json
import re
import sys

from ..errors import ZImageError
from ..errors.bilingual import Bilingual

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


def open_outputs() -> None:
    """Lets standard output and standard error take any text; called first of all."""
    # Nearly everything said holds Chinese. ASCII and Latin-1 stand for a locale that nobody has
    # set, and what shows them shows UTF-8. Any other encoding, like GBK, is what the terminal
    # needs; what it lacks (✗, a file name that is not UTF-8) is escaped instead of fatal.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            poor = codecs.lookup(stream.encoding).name in {"ascii", "iso8859-1"}
            stream.reconfigure(encoding="utf-8" if poor else None, errors="backslashreplace")


def say(text: Bilingual) -> None:
    """Write one message to standard error."""
    sys.stderr.write(f"{text}\n")
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
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # JSON's own escapes: those of the stream are not always JSON
        text = json.dumps(value, indent=2)
    result(text)


def problem(error: ZImageError, level: str = "error") -> dict[str, str]:
    """An entry of ``doctor``'s ``problems``. Levels: ``error`` (no pictures) and ``note``."""
    return {"level": level, "code": error.code, "zh": error.chinese, "en": error.english}

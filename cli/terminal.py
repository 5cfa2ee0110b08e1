"""Output and exit codes: messages go to standard error, results to standard output."""

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
    """Ends a command with an exit status and an error.

    Args:
        status: one of the exit codes above, never ``DONE``.
        code: a key of the error catalogue.
        **found: values for the placeholders of the text.
    """

    def __init__(self, status: int, code: str, **found: object) -> None:
        super().__init__(code, **found)
        self.status = status

    @classmethod
    def from_node(cls, status: int, message: str) -> Stop:
        """Return a node's own coded error; any other message becomes ``ZI-RUN-FAILED``."""
        stop = cls(status, "ZI-RUN-FAILED", found=message)
        match = re.fullmatch(r"\[(ZI-[A-Z-]+)\] (.+?) / (.+)", message, re.DOTALL)
        if match:
            stop.code, stop.chinese, stop.english = match.groups()
        return stop


def open_outputs() -> None:
    """Let standard output and standard error accept any text. Call this first."""
    # Almost every message has Chinese. ASCII and Latin-1 mean that no locale is set; such terminals
    # show UTF-8. Any other encoding, such as GBK, is the terminal's own; characters that it lacks
    # (✗, a file name that is not UTF-8) are escaped.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            no_locale = codecs.lookup(stream.encoding).name in {"ascii", "iso8859-1"}
            stream.reconfigure(encoding="utf-8" if no_locale else None, errors="backslashreplace")


def say(text: Bilingual) -> None:
    """Write one message to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def complain(error: ZImageError, as_json: bool = False) -> None:
    """Write an error to standard error, one line per language.

    Args:
        error: the error.
        as_json: also print it as the JSON document of a ``--json`` run.
    """
    if as_json:
        document({"error": {"code": error.code, "zh": error.chinese, "en": error.english}})
    sys.stderr.write(f"[{error.code}] {error.chinese}\n[{error.code}] {error.english}\n")
    sys.stderr.flush()


def result(text: str) -> None:
    """Write one line of a command's result to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def document(value: object) -> None:
    """Write the one JSON document of a ``--json`` run to standard output."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # the stream's escapes are not always JSON
        text = json.dumps(value, indent=2)
    result(text)


def problem(error: ZImageError, level: str = "error") -> dict[str, str]:
    """Return an entry of ``doctor``'s ``problems``. Levels: ``error`` (no pictures), ``note``."""
    return {"level": level, "code": error.code, "zh": error.chinese, "en": error.english}

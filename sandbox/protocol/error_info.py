"""Exceptions as text that can be sent, and back: no exception object crosses the connection."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import traceback
from typing import Any

from . import messages as m
from .exceptions import HostError

KINDS = {"InterruptProcessingException": "interrupted", "OutOfMemoryError": "memory"}
"""By class name, since this module must not import ComfyUI or torch to compare types."""
MAX_MESSAGE = 64 * 2**10
MAX_HOST_MESSAGE = 4000


class _DecodeError(UnicodeDecodeError):
    """A ``UnicodeDecodeError`` of which only the text is known."""

    def __init__(self, message: str) -> None:
        super().__init__("", b"", 0, 0, message)

    def __str__(self) -> str:
        return self.reason


class _EncodeError(UnicodeEncodeError):
    """A ``UnicodeEncodeError`` of which only the text is known."""

    def __init__(self, message: str) -> None:
        super().__init__("", "", 0, 0, message)

    def __str__(self) -> str:
        return self.reason


class _TranslateError(UnicodeTranslateError):
    """A ``UnicodeTranslateError`` of which only the text is known."""

    def __init__(self, message: str) -> None:
        super().__init__("", 0, 0, message)

    def __str__(self) -> str:
        return self.reason


UNICODE_ERRORS: dict[type, type[Exception]] = {
    UnicodeDecodeError: _DecodeError,
    UnicodeEncodeError: _EncodeError,
    UnicodeTranslateError: _TranslateError,
}
"""Builtin exceptions that need more than a message. The decoded bytes are not sent."""


def error_kind(error: BaseException) -> str:
    """Return ``interrupted``, ``memory`` or ``error``."""
    default = "memory" if isinstance(error, MemoryError) else "error"
    return KINDS.get(type(error).__name__, default)


def worker_error_info(error: BaseException) -> m.ErrorInfo:
    """Describe an exception of a worker, with its traceback."""
    try:
        message = _message(error)
    except Exception:  # noqa: BLE001  __str__ of a pack's own exception may raise
        message = "?"
    trace = "".join(traceback.format_exception(error))
    return m.ErrorInfo(
        error_kind(error),
        type(error).__name__[:200],
        _encodable(message[:MAX_MESSAGE]),
        _encodable(trace),
    )


def host_error_info(error: BaseException) -> m.ErrorInfo:
    """Describe an exception of the host, without a traceback: a pack must not see host paths."""
    message = _encodable(_message(error)[:MAX_HOST_MESSAGE])
    return m.ErrorInfo(error_kind(error), type(error).__name__, message)


def to_exception(info: m.ErrorInfo) -> BaseException:
    """Return the exception that a worker raises for an error of the host.

    It has the same type if that is a builtin one, else it is a :class:`HostError`.
    """
    if info.kind in {"interrupted", "memory"}:
        management: Any = importlib.import_module("comfy.model_management")
        if info.kind == "interrupted":
            return management.InterruptProcessingException()
        return management.OOM_EXCEPTION(info.message)
    kind = vars(builtins).get(info.type)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):  # ExceptionGroup also needs its exceptions
            return UNICODE_ERRORS.get(kind, kind)(info.message)
    return HostError(f"{info.type}: {info.message}")


def _message(error: BaseException) -> str:
    """Return the text from which the same exception can be built.

    ``str`` of a ``KeyError`` is the ``repr`` of its key, so building it again would quote twice.
    """
    if type(error) is KeyError and len(error.args) == 1:
        return str(error.args[0])
    return str(error)


def _encodable(text: str) -> str:
    """Return the end of a text, with escapes for what UTF-8 cannot encode."""
    return text[-MAX_MESSAGE:].encode("utf-8", "backslashreplace").decode()

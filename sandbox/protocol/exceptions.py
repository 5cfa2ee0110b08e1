"""Exceptions on their way between host and worker: as text, and as what is raised for it."""

from __future__ import annotations

import builtins
import contextlib
import traceback

from . import messages as m

KINDS = {"InterruptProcessingException": "interrupted", "OutOfMemoryError": "memory"}
"""By name, since ComfyUI and torch may not be imported where it is asked."""
LONGEST_MESSAGE = 64 * 2**10
LONGEST_REFUSAL = 4000


class _DecodeError(UnicodeDecodeError):
    """A ``UnicodeDecodeError`` whose text is all that is known of it."""

    def __init__(self, message: str) -> None:
        super().__init__("", b"", 0, 0, message)

    def __str__(self) -> str:
        return self.reason


class _EncodeError(UnicodeEncodeError):
    """A ``UnicodeEncodeError`` whose text is all that is known of it."""

    def __init__(self, message: str) -> None:
        super().__init__("", "", 0, 0, message)

    def __str__(self) -> str:
        return self.reason


class _TranslateError(UnicodeTranslateError):
    """A ``UnicodeTranslateError`` whose text is all that is known of it."""

    def __init__(self, message: str) -> None:
        super().__init__("", 0, 0, message)

    def __str__(self) -> str:
        return self.reason


UNICODE = {
    UnicodeDecodeError: _DecodeError,
    UnicodeEncodeError: _EncodeError,
    UnicodeTranslateError: _TranslateError,
}
"""Builtin exceptions that need more than a message. What was decoded stays in the host."""


class HostError(RuntimeError):
    """What the host could not do for a worker."""


def kind_of(error: BaseException) -> str:
    """``interrupted``, ``memory`` or ``error``."""
    return KINDS.get(type(error).__name__, "memory" if isinstance(error, MemoryError) else "error")


def trouble(error: BaseException) -> m.ErrorInfo:
    """What went wrong in a worker, in full."""
    try:
        message = _message(error)
    except Exception:  # noqa: BLE001  a pack's own exception may not have text
        message = "?"
    trace = "".join(traceback.format_exception(error))
    return m.ErrorInfo(
        kind_of(error), type(error).__name__[:200], _sound(message[:LONGEST_MESSAGE]), _sound(trace)
    )


def refusal(error: BaseException) -> m.ErrorInfo:
    """What the host could not do; where in the host is no business of a pack's."""
    return m.ErrorInfo(
        kind_of(error), type(error).__name__, _sound(_message(error)[:LONGEST_REFUSAL])
    )


def as_exception(error: m.ErrorInfo) -> BaseException:
    """What a worker raises for what the host could not do: of the same type, if Python has it."""
    if error.kind == "interrupted":
        import comfy.model_management

        return comfy.model_management.InterruptProcessingException()
    if error.kind == "memory":
        import comfy.model_management

        return comfy.model_management.OOM_EXCEPTION(error.message)
    kind = vars(builtins).get(error.type)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):  # ExceptionGroup needs the exceptions, too
            return UNICODE[kind](error.message) if kind in UNICODE else kind(error.message)
    return HostError(f"{error.type}: {error.message}")


def _message(error: BaseException) -> str:
    """The text to build the same exception from.

    ``str`` of a ``KeyError`` is the ``repr`` of its key, so building it again would quote twice.
    """
    if type(error) is KeyError and len(error.args) == 1:
        return str(error.args[0])
    return str(error)


def _sound(text: str) -> str:
    return text[-LONGEST_MESSAGE:].encode("utf-8", "backslashreplace").decode()

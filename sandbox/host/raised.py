"""Exceptions that ComfyUI gets for exceptions that were raised in a sandbox."""

from __future__ import annotations

import logging

from ...errors import SANDBOXED, ZImageError
from ..protocol import messages as m
from .log_capture import clean, clean_lines

log = logging.getLogger(__name__)

BUILTIN_ERRORS = {
    kind.__name__: kind
    for kind in (
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        FileNotFoundError,
        FloatingPointError,
        ImportError,
        IndexError,
        KeyError,
        LookupError,
        ModuleNotFoundError,
        NameError,
        NotImplementedError,
        OSError,
        OverflowError,
        PermissionError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
        ZeroDivisionError,
        Exception,
    )
}
"""The exceptions that keep their type, by name."""
MAX_MESSAGE = 8000
MAX_TRACE = 64 * 2**10


def sanitized(error: m.ErrorInfo) -> m.ErrorInfo:
    """Return a worker's error with text that is safe in a log and on a page."""
    return m.ErrorInfo(
        error.kind,
        clean(error.type)[:200],
        clean_lines(error.message, MAX_MESSAGE),
        clean_lines(error.trace[-MAX_TRACE:], 2 * MAX_TRACE),
    )


def host_exception(pack: str, node: str, error: m.ErrorInfo) -> BaseException:
    """Log a worker's error and return the exception to raise in the host."""
    if error.kind == "interrupted":
        import comfy.model_management

        return comfy.model_management.InterruptProcessingException()
    log.error("Z-Image: %s, %s:\n%s", pack, node, error.trace)
    if error.kind == "memory":
        return ZImageError("ZI-SANDBOX-MEMORY", pack=pack, node=node, found=error.message)
    if (kind := BUILTIN_ERRORS.get(error.type)) is not None:
        exception = kind(error.message)
        setattr(exception, SANDBOXED, pack)
        return exception
    return ZImageError(
        "ZI-SANDBOX-RAISED", pack=pack, node=node, found=f"{error.type}: {error.message}"
    )

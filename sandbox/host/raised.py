"""What is raised in ComfyUI for what was raised in a sandbox."""

from __future__ import annotations

import logging

from ...errors import SANDBOXED, ZImageError
from ..protocol import messages as m
from .log_capture import clean, clean_lines

log = logging.getLogger(__name__)

BUILTIN = {
    one.__name__: one
    for one in (
        ArithmeticError, AssertionError, AttributeError, EOFError, FileNotFoundError,
        FloatingPointError, ImportError, IndexError, KeyError, LookupError, ModuleNotFoundError,
        NameError, NotImplementedError, OSError, OverflowError, PermissionError, RecursionError,
        RuntimeError, TypeError, ValueError, ZeroDivisionError, Exception,
    )
}  # fmt: skip
"""Exceptions that are raised again as themselves; a closed list, by name."""
LONGEST_MESSAGE, LONGEST_TRACE = 8000, 64 * 2**10


def received(trouble: m.ErrorInfo) -> m.ErrorInfo:
    """What a worker tells of an exception, fit for a log and a page."""
    return m.ErrorInfo(
        trouble.kind,
        clean(trouble.type)[:200],
        clean_lines(trouble.message, LONGEST_MESSAGE),
        clean_lines(trouble.trace[-LONGEST_TRACE:], 2 * LONGEST_TRACE),
    )


def translated(pack: str, node: str, trouble: m.ErrorInfo) -> BaseException:
    """What to raise in the host for what was raised in a worker."""
    if trouble.kind == "interrupted":
        import comfy.model_management

        return comfy.model_management.InterruptProcessingException()
    log.error("Z-Image: %s, %s:\n%s", pack, node, trouble.trace)
    if trouble.kind == "memory":
        return ZImageError("ZI-SANDBOX-MEMORY", pack=pack, node=node, found=trouble.message)
    if (kind := BUILTIN.get(trouble.type)) is not None:
        error = kind(trouble.message)
        setattr(error, SANDBOXED, pack)
        return error
    return ZImageError(
        "ZI-SANDBOX-RAISED", pack=pack, node=node, found=f"{trouble.type}: {trouble.message}"
    )

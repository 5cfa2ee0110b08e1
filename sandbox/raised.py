"""What is raised in ComfyUI for what was raised in a sandbox."""

from __future__ import annotations

import logging

from ..errors import ZImageError
from . import messages as m

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


def translated(pack: str, node: str, trouble: m.Trouble) -> Exception:
    """What to raise in the host for what was raised in a worker."""
    if trouble.kind == "interrupted":
        import comfy.model_management

        return comfy.model_management.InterruptProcessingException()
    log.error("Z-Image: %s, %s:\n%s", pack, node, trouble.trace)
    if trouble.kind == "memory":
        return ZImageError("ZI-SANDBOX-MEMORY", pack=pack, node=node, found=trouble.message)
    if (kind := BUILTIN.get(trouble.type)) is not None:
        return kind(trouble.message)
    return ZImageError(
        "ZI-SANDBOX-RAISED", pack=pack, node=node, found=f"{trouble.type}: {trouble.message}"
    )

"""State of the sandboxes, which the package ``sandbox`` provides: parts do not import it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NONE: dict[str, Any] = {
    "mode": "off",
    "packs": {},
    "trusted": [],
    "blocked": [],
    "findings": [],
    "restart_for": [],
}
"""State of a server in which no pack runs in a sandbox."""


def _no_sandboxes() -> dict[str, Any]:
    return NONE


def _no_bytes() -> int:
    return 0


_source: Callable[[], dict[str, Any]] = _no_sandboxes
_kept: Callable[[], int] = _no_bytes


def set_source(source: Callable[[], dict[str, Any]]) -> None:
    """Use a function that describes the sandboxes from now on."""
    global _source
    _source = source


def set_kept(kept: Callable[[], int]) -> None:
    """Use a function that counts the bytes of buffers for sandboxes from now on."""
    global _kept
    _kept = kept


def kept() -> int:
    """Return the bytes of this process that wait for the next tensors to and from sandboxes.

    They are freed a while after their last use, so no prompt has left them.
    """
    return _kept()


def describe() -> dict[str, Any]:
    """Return the state of the sandboxes for ``/health`` and the panel."""
    return _source()

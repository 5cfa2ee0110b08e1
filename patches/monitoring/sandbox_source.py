"""What is told of sandboxes, by whoever has them: this layer knows nothing of theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NONE: dict[str, Any] = {
    "mode": "off", "packs": {}, "trusted": [], "blocked": [], "findings": [], "restart_for": []
}  # fmt: skip
"""Where no pack runs in a sandbox."""

_source: Callable[[], dict[str, Any]] = lambda: NONE  # noqa: E731


def tell(source: Callable[[], dict[str, Any]]) -> None:
    """From now on, this is asked how the sandboxes are."""
    global _source
    _source = source


_kept: Callable[[], int] = lambda: 0  # noqa: E731


def count(kept: Callable[[], int]) -> None:
    """From now on, this is asked what they keep of the server's memory for their next use."""
    global _kept
    _kept = kept


def kept() -> int:
    """Bytes of this process, given back a while after the last use: no prompt has left them."""
    return _kept()


def describe() -> dict[str, Any]:
    """For ``/health`` and the panel."""
    return _source()

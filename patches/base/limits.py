"""Limits of requests: the defaults, and what ``$ZIMAGE_LIMITS`` changes."""

from __future__ import annotations

from collections.abc import Mapping

from ...config import InvalidValue

MIB = 2**20
DEFAULTS = {
    "body": 32,
    "waiting": 1000,
    "side": 4096,
    "batch": 64,
    "steps": 200,
    "work": 60_000,
}
"""MiB of a JSON body, prompts that wait, and the fields of :class:`...validator.bounds.Bounds`."""


def request_limits(configured: Mapping[str, float]) -> dict[str, int]:
    """Return all limits; unknown names, and numbers below 1, have no effect."""
    usable = {name: int(configured[name]) for name in DEFAULTS if configured.get(name, 0) >= 1}
    return DEFAULTS | usable


def invalid_limits(configured: Mapping[str, float]) -> list[InvalidValue]:
    """Return what :func:`request_limits` ignores."""
    return [
        InvalidValue("ZIMAGE_LIMITS", f"{name}={value:g}", f"{', '.join(DEFAULTS)}; >= 1")
        for name, value in configured.items()
        if name not in DEFAULTS or value < 1
    ]

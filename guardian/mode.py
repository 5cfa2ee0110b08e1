"""Modes in which a server starts."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """How much a server loads; all modes but the first are degraded."""

    NORMAL = "normal"
    SAFE = "safe"  # this node pack only
    CPU = "cpu"  # this node pack only, without the GPU

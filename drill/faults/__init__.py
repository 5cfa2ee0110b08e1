"""The faults. Each is done to a stage under load, and says what has to come of it by asserting it.

A fault that changes processes ends when the stage has settled. ``AssertionError`` and
``TimeoutError`` are broken invariants; what was accepted meanwhile is checked by the caller.
"""

from __future__ import annotations

from . import connections, disks, nodes, processes, requests  # noqa: F401 - each adds its own
from .base import FAULTS, Fault, Skipped

__all__ = ["FAULTS", "Fault", "Skipped"]

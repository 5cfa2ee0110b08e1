"""The faults. Each acts on a stage under load and asserts the expected outcome.

A fault that changes processes ends when the stage has settled. ``AssertionError`` and
``TimeoutError`` mean a violated invariant. The caller checks the results of the load.
``./zimage drill --list`` shows the docstring of each fault.
"""

from __future__ import annotations

from . import connections, disks, nodes, processes, requests  # noqa: F401 - they register faults
from .base import FAULTS, Fault, Skipped

__all__ = ["FAULTS", "Fault", "Skipped"]

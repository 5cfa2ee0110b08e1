"""Access to torch and NumPy, which are imported only where a value needs them.

The results are untyped, since the type checker runs without these libraries.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def import_torch() -> Any:
    """Import torch."""
    return importlib.import_module("torch")


def import_numpy() -> Any:
    """Import NumPy."""
    return importlib.import_module("numpy")


def loaded(name: str) -> Any:
    """Return a module if something has imported it already, else None."""
    return sys.modules.get(name)

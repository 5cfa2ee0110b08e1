"""Every function of the host that a part of the hardening takes hold of, by part."""

from __future__ import annotations

import importlib
from typing import Any


def seams(registry: Any) -> dict[str, list[Any]]:
    """The :class:`HookPoint` constants of each part's module; some parts have none.

    Args:
        registry: the module; the pack may have been loaded under any name.
    """
    found: dict[str, list[Any]] = {}
    for name in registry.NAMES:
        module = importlib.import_module(f"..{registry.MODULES[name]}", registry.__package__)
        values = [one for value in vars(module).values()
                  for one in (value if isinstance(value, tuple) else [value])]  # fmt: skip
        found[name] = [one for one in values if type(one).__name__ == "HookPoint"]
    return found

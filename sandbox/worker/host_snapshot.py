"""Finds what a pack has replaced in ComfyUI's modules: that has no effect from a sandbox."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

HOST_PACKAGES = frozenset({"app", "comfy", "comfy_api", "comfy_execution", "comfy_extras"})
HOST_MODULES = ("nodes", "execution", "server", "folder_paths", "latent_preview", "node_helpers")


class HostSnapshot:
    """ComfyUI's functions, classes and methods at one time."""

    def __init__(self) -> None:
        self._before = dict(_callables())

    def changed(self) -> list[str]:
        """Return the names of those that have been replaced since."""
        now = dict(_callables())
        return [name for name, value in self._before.items() if now.get(name) is not value]


def _callables() -> Iterator[tuple[str, Any]]:
    for name, module in list(sys.modules.items()):
        if module is not None and _is_host_module(name):
            yield from _of_module(name, module)


def _of_module(module_name: str, module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(module).items()):
        if not callable(value) or getattr(value, "__module__", "") != module_name:
            continue
        yield f"{module_name}.{name}", value
        if isinstance(value, type):
            for attribute, method in list(vars(value).items()):
                if callable(method) or isinstance(method, classmethod | staticmethod):
                    yield f"{module_name}.{name}.{attribute}", method


def _is_host_module(name: str) -> bool:
    return name in HOST_MODULES or name.partition(".")[0] in HOST_PACKAGES

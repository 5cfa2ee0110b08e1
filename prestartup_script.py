"""The earliest hook: other people's packs are met before ComfyUI runs any of their code."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import types

_FOLDER = os.path.dirname(__file__)


def _pack() -> types.ModuleType:
    """This pack, under the name that ComfyUI will give it: nothing is imported twice."""
    name = _FOLDER.replace(".", "_x_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, os.path.join(_FOLDER, "__init__.py"))
        if spec is None or spec.loader is None:
            raise ImportError(name)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def _begin() -> None:
    try:
        pack = _pack()
        settings = importlib.import_module(".config", pack.__name__).Settings.from_environment()
        if settings.sandbox != "off":
            importlib.import_module(".sandbox.interception", pack.__name__).install(
                settings.sandbox
            )
    except Exception:
        logging.getLogger("zimage").exception("Z-Image: other packs are not in sandboxes")


_begin()

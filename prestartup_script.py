"""The earliest hook: other people's packs are met before ComfyUI runs any of their code.

No thread has begun yet, so this is also where it is settled that all will share a heap.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import tomllib
import types
from typing import Any

_FOLDER = os.path.dirname(__file__)
log = logging.getLogger("zimage")


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


def _one_heap() -> None:
    try:
        settings = importlib.import_module(".config", _pack().__name__).Settings.from_environment()
        if "memory" not in settings.off:
            importlib.import_module(".patches.memory.ram", _pack().__name__).one_heap()
    except Exception:
        log.exception("Z-Image: threads have heaps of their own")


def _begin() -> None:
    # Not from config: this must be known even when nothing of the pack can be imported.
    mode = os.environ.get("ZIMAGE_SANDBOX", "")
    if mode == "off":
        return
    if mode not in {"auto", "strict"}:
        mode = ""  # then sandbox.toml decides; the log of the server has ZI-SETTING
    try:
        begin = importlib.import_module(".sandbox.loading.interception", _pack().__name__).install
        begin(mode or None, __name__ == "zimage_first", _load_none)
    except Exception:
        log.exception("Z-Image: other packs are not in sandboxes")
        if mode == "strict" or _closed(mode):
            _load_none()


def _closed(mode: str) -> bool:
    """Whether the file has packs that must not run in ComfyUI's process, read without any of our
    own code."""
    import folder_paths

    path = os.path.join(folder_paths.get_user_directory(), "__zimage", "sandbox.toml")
    try:
        with open(path, "rb") as file:
            told = tomllib.load(file)
        tables = [told.get("default", {}), *told.get("packs", {}).values()]
        runs = {str(one.get("run")) for one in tables}
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True  # nobody knows what was wanted
    return (not mode and told.get("mode") == "strict") or bool(runs & {"sandbox", "blocked"})


def _load_none() -> None:
    """What cannot be sandboxed is not loaded: ComfyUI's own switch, with us left in."""
    args: Any = importlib.import_module("comfy.cli_args").args
    args.disable_all_custom_nodes = True
    args.whitelist_custom_nodes = [os.path.basename(_FOLDER)]
    log.error(
        "Z-Image: sandboxes do not work, and packs must not run without: no other pack is loaded / "
        "沙箱无法工作，而扩展包不得在沙箱外运行：不加载任何其他扩展包"
    )


_one_heap()
_begin()

"""The earliest hook: sandboxes are set up before ComfyUI runs any code of other packs.

No thread has been started yet, so this script also makes all threads share one heap.
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
    """Return this pack under the name that ComfyUI will give it: nothing is imported twice."""
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
            importlib.import_module(".patches.base.ram", _pack().__name__).one_heap()
    except Exception:
        log.exception("Z-Image: threads have heaps of their own")


def _begin() -> None:
    # Not from config: this must be known even if no module of this pack can be imported.
    mode = os.environ.get("ZIMAGE_SANDBOX", "")
    if mode == "off":
        return
    if mode not in {"auto", "strict"}:
        mode = ""  # then sandbox.toml decides; the log of the server has ZI-SETTING
    try:
        install = importlib.import_module(".sandbox.loading.interception", _pack().__name__).install
        install(mode or None, __name__ == "zimage_first", _load_no_pack)
    except Exception:
        log.exception("Z-Image: other packs are not in sandboxes")
        if mode == "strict" or _requires_sandbox(mode):
            _load_no_pack()


def _requires_sandbox(mode: str) -> bool:
    """Return whether any pack must not run in ComfyUI's process.

    This reads ``sandbox.toml`` without any other module of this pack. A file that cannot be read
    counts as yes.
    """
    import folder_paths

    path = os.path.join(folder_paths.get_user_directory(), "__zimage", "sandbox.toml")
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
        tables = [document.get("default", {}), *document.get("packs", {}).values()]
        runs = {str(table.get("run")) for table in tables}
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):
        return True
    return (not mode and document.get("mode") == "strict") or bool(runs & {"sandbox", "blocked"})


def _load_no_pack() -> None:
    """Make ComfyUI load no other pack, by its own option; this pack is still loaded."""
    args: Any = importlib.import_module("comfy.cli_args").args
    args.disable_all_custom_nodes = True
    args.whitelist_custom_nodes = [os.path.basename(_FOLDER)]
    log.error(
        "Z-Image: sandboxes do not work, and packs must not run outside of them: no other pack is "
        "loaded / 沙箱无法工作，而节点包不得在沙箱外运行：不加载任何其他节点包"
    )


_one_heap()
_begin()

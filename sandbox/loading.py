"""In the place of ComfyUI's loader: packs that belong in a sandbox never run in its process."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from pathlib import Path
from typing import Any

from ..config import PACK_DIR
from ..errors import ZImageError
from . import messages as m
from .policy import Policy
from .proxy import make
from .supervisor import Supervisor, name_of

log = logging.getLogger(__name__)

HOSTS_OWN = frozenset({"websocket_image_save", "example_node"})
"""Packs that come with ComfyUI."""


class Loading:
    """Decides about each pack, and loads those in sandboxes.

    Args:
        policy: which packs run where.
        supervisor: their processes.
    """

    def __init__(self, policy: Policy, supervisor: Supervisor) -> None:
        self.policy, self.supervisor = policy, supervisor
        self.findings: list[ZImageError] = [policy.trouble] if policy.trouble else []

    def place(self, path: str) -> str:
        """``host``, ``sandbox`` or ``blocked`` for the pack at a path."""
        if os.path.realpath(path) == os.path.realpath(PACK_DIR):
            return "host"
        if name_of(path) in HOSTS_OWN and path.endswith(".py"):
            return "host"
        rule = self.policy.rule(name_of(path))
        if rule.run == "blocked":
            return "blocked"
        if rule.run == "trusted" or (self.policy.mode == "off" and rule.run is None):
            return "host"
        return "sandbox"

    def wrap(self, original: Any) -> Any:
        """For :class:`patches.seam.Patch`: ``nodes.load_custom_node``."""

        async def load_custom_node(
            module_path: str,
            ignore: Any = frozenset(),
            module_parent: str = "custom_nodes",
            **more: Any,
        ) -> bool:
            place = self.place(module_path) if module_parent == "custom_nodes" else "host"
            if place == "host":
                return await original(module_path, ignore, module_parent, **more)
            if place == "blocked":
                log.warning("%s", ZImageError("ZI-SANDBOX-BLOCKED", pack=name_of(module_path)))
                return False
            return await self._load(original, module_path, ignore, module_parent, more)

        return load_custom_node

    async def _load(
        self, original: Any, path: str, ignore: Any, parent: str, more: dict[str, Any]
    ) -> bool:
        pack = self.supervisor.add(path, frozenset(ignore))
        try:
            info = await asyncio.to_thread(pack.discover)
            self._judge(pack.name, info)
        except ZImageError as error:
            self.findings.append(error)
            outside = error.code == "ZI-SANDBOX-HOST"
            rule = self.policy.rule(pack.name)
            if outside and self.policy.mode == "auto" and rule.run is None:
                log.warning("%s", error)
                pack.stop()
                del self.supervisor.packs[pack.name]
                return await original(path, ignore, parent, **more)
            log.error("%s", error)
            if not (outside and rule.run == "sandbox"):
                pack.stop()
                return False
            info = pack.info
            if info is None:
                return False
        if not info.loaded:
            return False
        self._register(pack, info, path, ignore, parent)
        log.info("Z-Image: %s runs in a sandbox, %d nodes", pack.name, len(info.nodes))
        return True

    def _judge(self, name: str, info: m.PackInfo) -> None:
        """What keeps a pack from living outside.

        Raises:
            ZImageError: ``ZI-SANDBOX-LIBRARY``, ``ZI-SANDBOX-IMPORT`` or ``ZI-SANDBOX-HOST``.
        """
        if not info.loaded:
            if info.missing:
                raise ZImageError("ZI-SANDBOX-LIBRARY", pack=name, found=info.missing)
            raise ZImageError("ZI-SANDBOX-IMPORT", pack=name, found="…", tail=info.trace[-2000:])
        if info.patched or info.handlers:
            found = ", ".join([*info.patched, *info.handlers][:8])
            raise ZImageError("ZI-SANDBOX-HOST", pack=name, found=found)

    def _register(self, pack: Any, info: m.PackInfo, path: str, ignore: Any, parent: str) -> None:
        nodes: Any = importlib.import_module("nodes")
        for one in info.nodes:
            if one.name in ignore:
                continue
            if "run" not in one.functions:
                log.warning("Z-Image: %s, %s: %s", pack.name, one.name, one.trouble)
                continue
            made: Any = make(one, pack)
            made.RELATIVE_PYTHON_MODULE = f"{parent}.{nodes.get_module_name(path)}"
            nodes.NODE_CLASS_MAPPINGS[one.name] = made
        nodes.NODE_DISPLAY_NAME_MAPPINGS.update(info.names)
        root = os.path.realpath(path if os.path.isdir(path) else os.path.dirname(path))
        nodes.LOADED_MODULE_DIRS[nodes.get_module_name(path)] = os.path.abspath(root)
        for name, folder in info.web.items():
            real = os.path.realpath(folder)
            if os.path.isdir(path) and os.path.commonpath([real, root]) == root:
                nodes.EXTENSION_WEB_DIRS[name] = folder
            else:
                log.warning("Z-Image: %s: %s lies outside of the pack", pack.name, folder)
        self._folders(info)

    @staticmethod
    def _folders(info: m.PackInfo) -> None:
        import folder_paths

        for kind, (paths, suffixes) in info.folders.items():
            for one in paths:
                if kind != "custom_nodes" and Path(one).is_absolute():
                    folder_paths.add_model_folder_path(kind, one)
            known = folder_paths.folder_names_and_paths.get(kind)
            if known is not None and isinstance(known[1], set):
                known[1].update(suffixes)

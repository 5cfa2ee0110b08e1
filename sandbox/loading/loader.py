"""The replacement of ComfyUI's loader: packs in sandboxes never run in ComfyUI's process."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
import shlex
import sys
from collections.abc import Callable
from typing import Any

from ...config import PACK_DIR
from ...errors import ZImageError
from ...errors.bilingual import Bilingual
from ...patches.base.hooks import Argument
from ..host.description_cache import digest_of, state_of
from ..host.log_capture import clean
from ..host.pack import Pack
from ..host.supervisor import Supervisor, name_of
from ..policy.policy import Policy
from ..protocol import messages as m
from ..web.web import SandboxWeb
from .proxy_nodes import make

log = logging.getLogger(__name__)

MAX_LISTED = 12
HOSTS_OWN = frozenset({"websocket_image_save", "example_node"})
"""Packs that are part of ComfyUI."""


class PackLoader:
    """Decides where each pack runs, and loads those in sandboxes.

    Args:
        policy: which packs run where.
        supervisor: has their processes.

    Attributes:
        findings: errors that users should know of, such as packs that were refused.
        web: what the packs serve.
    """

    def __init__(self, policy: Policy, supervisor: Supervisor) -> None:
        self.policy = policy
        self.supervisor = supervisor
        self.findings: list[ZImageError] = [policy.error] if policy.error else []
        self.web = SandboxWeb(policy, supervisor, self.findings, self.place)

    def place(self, path: str) -> str:
        """Return ``host``, ``sandbox`` or ``blocked`` for the pack at a path."""
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
        """Wrap ``nodes.load_custom_node``."""
        names = ("module_path", "ignore", "module_parent")
        parameters = [Argument(original, name) for name in names]

        async def load_custom_node(*arguments: Any, **named: Any) -> bool:
            path, ignore, parent = (parameter.of(arguments, named) for parameter in parameters)
            load_in_host = functools.partial(original, *arguments, **named)
            self.web.begin()
            place = self.place(path) if parent == "custom_nodes" else "host"
            if place == "host":
                return await load_in_host()
            if place == "blocked":
                log.warning("%s", ZImageError("ZI-SANDBOX-BLOCKED", pack=name_of(path)))
                return False
            try:
                return await self._load(load_in_host, path, ignore, parent)
            except Exception:  # ComfyUI and the other packs start in any case
                log.exception("Z-Image: %s is not loaded", name_of(path))
                return False

        return load_custom_node

    async def _load(
        self, load_in_host: Callable[[], Any], path: str, ignore: Any, parent: str
    ) -> bool:
        pack = self.supervisor.add(path, frozenset(ignore))
        try:
            info = await asyncio.to_thread(self._describe, pack, path, ignore)
            self._check_loaded(pack.name, info)
        except ZImageError as error:
            self.findings.append(error)
            changes_host = error.code == "ZI-SANDBOX-HOST"
            rule = self.policy.rule(pack.called)
            if changes_host and self.policy.mode == "auto" and rule.run is None:
                log.warning("%s", error)
                pack.stop()
                del self.supervisor.packs[pack.name]
                return await load_in_host()
            log.error("%s", error)
            if not (changes_host and rule.run == "sandbox"):
                pack.stop()
                return False
            info = pack.info
        if info is None or not info.loaded:
            return False
        self._register(pack, info, path, ignore, parent)
        log.info("Z-Image: %s runs in a sandbox, %d nodes", pack.name, len(info.nodes))
        return True

    def _describe(self, pack: Pack, path: str, ignore: Any) -> m.PackInfo:
        """Return the stored description if nothing has changed, else ask the pack's process."""
        version = str(getattr(sys.modules.get("comfyui_version"), "__version__", ""))
        current_digest = functools.partial(digest_of, path, pack.rule, ignore, version)
        digest = current_digest()
        descriptions = self.supervisor.descriptions
        pack.store_description(functools.partial(descriptions.save, pack.name, digest))
        info = descriptions.load(pack.name, digest)
        if info is not None and any(node.error for node in info.nodes):
            # The cause may be a file of models that is there by now.
            info = info if state_of(info.looked_at) == info.state else None
        if info is None:
            info = pack.discover()
            if info.loaded:
                descriptions.save(pack.name, digest, info)
        else:
            self.supervisor.warm()
        pack.loaded(info, current_digest, digest)
        return info

    def _check_loaded(self, name: str, info: m.PackInfo) -> None:
        """Check that a pack can run in a sandbox.

        Raises:
            ZImageError: ``ZI-SANDBOX-LIBRARY``, ``ZI-SANDBOX-IMPORT`` or ``ZI-SANDBOX-HOST``.
        """
        if not info.loaded:
            if info.missing:
                command = _install_command(self.supervisor.paths[name][0], info.missing)
                raise ZImageError(
                    "ZI-SANDBOX-LIBRARY", pack=name, found=info.missing, command=command
                )
            raise ZImageError("ZI-SANDBOX-IMPORT", pack=name, found="…", tail=info.trace[-2000:])
        if info.patched or info.handlers:
            changes = ", ".join([*info.patched, *info.handlers][:8])
            raise ZImageError("ZI-SANDBOX-HOST", pack=name, found=changes)

    def _register(self, pack: Any, info: m.PackInfo, path: str, ignore: Any, parent: str) -> None:
        nodes: Any = importlib.import_module("nodes")
        module = nodes.get_module_name(path)
        self._register_nodes(nodes, pack, info, ignore, f"{parent}.{module}")
        root = path if os.path.isdir(path) else os.path.dirname(path)
        nodes.LOADED_MODULE_DIRS[module] = os.path.abspath(root)
        self.web.add(pack, info, path)
        self._register_folders(pack.name, info, path)

    def _register_nodes(
        self, nodes: Any, pack: Any, info: m.PackInfo, ignore: Any, module: str
    ) -> None:
        taken = [*info.taken]
        refused: list[str] = []
        for node in info.nodes:
            if node.name in ignore or node.name in nodes.NODE_CLASS_MAPPINGS:
                taken.append(clean(node.name))
                continue
            try:
                proxy = self._proxy(node, pack)
            except Exception as error:  # noqa: BLE001  a worker's description must not end the host
                refused.append(f"{clean(node.name)} ({node.error or error})")
                continue
            proxy.RELATIVE_PYTHON_MODULE = module
            nodes.NODE_CLASS_MAPPINGS[node.name] = proxy
            if node.name in info.names:
                nodes.NODE_DISPLAY_NAME_MAPPINGS[node.name] = info.names[node.name]
        for code, names in (("ZI-SANDBOX-NAME", taken), ("ZI-SANDBOX-NODE", refused)):
            if names:
                self._report(ZImageError(code, pack=pack.name, found=listed(names)))

    @staticmethod
    def _proxy(node: m.NodeInfo, pack: Any) -> Any:
        if "run" not in node.functions or node.attributes is None:
            raise ValueError("no node")
        if clean(node.name) != node.name:
            raise ValueError("a name with control characters")
        return make(node, pack)

    def _report(self, error: ZImageError) -> None:
        """Report a part of a pack that is refused while the rest of the pack is loaded."""
        self.findings.append(error)
        log.warning("%s", error)

    def _register_folders(self, name: str, info: m.PackInfo, path: str) -> None:
        """Register the pack's folders for models that are in permitted places.

        The host and other packs will read them.
        """
        import folder_paths

        roots = [path, folder_paths.models_dir, str(self.supervisor.home / name)]
        roots += [folder_paths.get_output_directory(), folder_paths.get_input_directory()]
        for kind, (paths, suffixes) in info.folders.items():
            is_new = kind not in folder_paths.folder_names_and_paths
            for folder in paths:
                if kind == "custom_nodes" or _is_registered(kind, folder):
                    continue
                if any(lies_in(folder, root) for root in roots):
                    folder_paths.add_model_folder_path(kind, folder)
                else:
                    self._report(ZImageError("ZI-SANDBOX-FOLDER", pack=name, found=folder))
            if is_new and kind in folder_paths.folder_names_and_paths:
                folder_paths.folder_names_and_paths[kind][1].update(suffixes)


def listed(names: list[str]) -> Bilingual:
    """Return names as one text, the first of them if there are many."""
    text = ", ".join(names[:MAX_LISTED])
    more = len(names) - MAX_LISTED
    if more <= 0:
        return Bilingual(text, text)
    return Bilingual(f"{text} 等 {len(names)} 个", f"{text} and {more} more")


def _install_command(path: str, module: str) -> str:
    """Return the command that probably installs what a pack needs."""
    requirements = os.path.join(path, "requirements.txt")
    if os.path.isfile(requirements):
        return f"pip install -r {shlex.quote(requirements)}"
    return f"pip install {shlex.quote(module.partition('.')[0])}"


def _is_registered(kind: str, path: str) -> bool:
    import folder_paths

    return path in folder_paths.folder_names_and_paths.get(kind, ([], set()))[0]


def lies_in(path: str, root: str) -> bool:
    """Return whether a path, with links resolved, is a folder or below it."""
    real = os.path.realpath(path)
    base = os.path.realpath(root)
    return os.path.isabs(path) and os.path.commonpath([real, base]) == base

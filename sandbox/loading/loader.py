"""In the place of ComfyUI's loader: packs that belong in a sandbox never run in its process."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import os
import shlex
import sys
from typing import Any

from ...config import PACK_DIR
from ...errors import Said, ZImageError
from ...patches.base.hooks import Argument
from ..host.log_capture import clean
from ..host.pack import Pack
from ..host.supervisor import Supervisor, name_of
from ..policy.policy import Policy
from ..protocol import messages as m
from ..web.web import Web
from .description_cache import digest_of, state_of
from .proxy_nodes import make

log = logging.getLogger(__name__)

MOST_LISTED = 12
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
        self.findings: list[ZImageError] = [policy.error] if policy.error else []
        self.web = Web(self)

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

        names = ("module_path", "ignore", "module_parent")
        wanted = [Argument(original, name) for name in names]

        async def load_custom_node(*arguments: Any, **named: Any) -> bool:
            module_path, ignore, module_parent = (one.of(arguments, named) for one in wanted)
            load = functools.partial(original, *arguments, **named)
            self.web.begin()
            place = self.place(module_path) if module_parent == "custom_nodes" else "host"
            if place == "host":
                return await load()
            if place == "blocked":
                log.warning("%s", ZImageError("ZI-SANDBOX-BLOCKED", pack=name_of(module_path)))
                return False
            try:
                return await self._load(load, module_path, ignore, module_parent)
            except Exception:  # whatever it is, ComfyUI and the other packs start
                log.exception("Z-Image: %s is not loaded", name_of(module_path))
                return False

        return load_custom_node

    async def _load(self, load: Any, path: str, ignore: Any, parent: str) -> bool:
        pack = self.supervisor.add(path, frozenset(ignore))
        try:
            info = await asyncio.to_thread(self._described, pack, path, ignore)
            self._judge(pack.name, info)
        except ZImageError as error:
            self.findings.append(error)
            outside = error.code == "ZI-SANDBOX-HOST"
            rule = self.policy.rule(pack.called)
            if outside and self.policy.mode == "auto" and rule.run is None:
                log.warning("%s", error)
                pack.stop()
                del self.supervisor.packs[pack.name]
                return await load()
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

    def _described(self, pack: Pack, path: str, ignore: Any) -> m.PackInfo:
        """From the last start if nothing has changed, else from the pack in its process."""
        version = str(getattr(sys.modules.get("comfyui_version"), "__version__", ""))
        now = functools.partial(digest_of, path, pack.rule, ignore, version)
        digest = now()
        stored = self.supervisor.descriptions
        pack.keep = functools.partial(stored.save, pack.name, digest)
        info = stored.load(pack.name, digest)
        if info is not None and any(one.trouble for one in info.nodes):
            info = info if state_of(info.looked_at) == info.state else None  # it may be over
        if info is None:
            info = pack.discover()
            if info.loaded:
                stored.save(pack.name, digest, info)
        else:
            self.supervisor.warm()
        pack.loaded(info, now, digest)
        return info

    def _judge(self, name: str, info: m.PackInfo) -> None:
        """What keeps a pack from living outside.

        Raises:
            ZImageError: ``ZI-SANDBOX-LIBRARY``, ``ZI-SANDBOX-IMPORT`` or ``ZI-SANDBOX-HOST``.
        """
        if not info.loaded:
            if info.missing:
                command = _install(self.supervisor.paths[name][0], info.missing)
                raise ZImageError(
                    "ZI-SANDBOX-LIBRARY", pack=name, found=info.missing, command=command
                )
            raise ZImageError("ZI-SANDBOX-IMPORT", pack=name, found="…", tail=info.trace[-2000:])
        if info.patched or info.handlers:
            found = ", ".join([*info.patched, *info.handlers][:8])
            raise ZImageError("ZI-SANDBOX-HOST", pack=name, found=found)

    def _register(self, pack: Any, info: m.PackInfo, path: str, ignore: Any, parent: str) -> None:
        nodes: Any = importlib.import_module("nodes")
        module = nodes.get_module_name(path)
        taken, left_out = [*info.taken], list[str]()
        for one in info.nodes:
            if one.name in ignore or one.name in nodes.NODE_CLASS_MAPPINGS:
                taken.append(clean(one.name))
                continue
            try:
                made = self._made(one, pack)
            except Exception as error:  # noqa: BLE001  what a worker says must not end the host
                left_out.append(f"{clean(one.name)} ({one.trouble or error})")
                continue
            made.RELATIVE_PYTHON_MODULE = f"{parent}.{module}"
            nodes.NODE_CLASS_MAPPINGS[one.name] = made
            if one.name in info.names:
                nodes.NODE_DISPLAY_NAME_MAPPINGS[one.name] = info.names[one.name]
        for code, names in (("ZI-SANDBOX-NAME", taken), ("ZI-SANDBOX-NODE", left_out)):
            if names:
                self._find(ZImageError(code, pack=pack.name, found=listed(names)))
        root = path if os.path.isdir(path) else os.path.dirname(path)
        nodes.LOADED_MODULE_DIRS[module] = os.path.abspath(root)
        self.web.add(pack, info, path)
        self._folders(pack.name, info, path)

    @staticmethod
    def _made(one: m.NodeInfo, pack: Any) -> Any:
        if "run" not in one.functions or one.attributes is None:
            raise ValueError("no node")
        if clean(one.name) != one.name:
            raise ValueError("a name with control characters")
        return make(one, pack)

    def _find(self, error: ZImageError) -> None:
        """Something that is left out, while the rest of the pack is loaded."""
        self.findings.append(error)
        log.warning("%s", error)

    def _folders(self, name: str, info: m.PackInfo, path: str) -> None:
        """Folders for models, as the pack has registered them: the host and other packs will read
        them, so they have to lie where models may."""
        import folder_paths

        roots = [path, folder_paths.models_dir, str(self.supervisor.home / name)]
        roots += [folder_paths.get_output_directory(), folder_paths.get_input_directory()]
        for kind, (paths, suffixes) in info.folders.items():
            new = kind not in folder_paths.folder_names_and_paths
            for one in paths:
                if kind == "custom_nodes" or _known(kind, one):
                    continue
                if any(lies_in(one, root) for root in roots):
                    folder_paths.add_model_folder_path(kind, one)
                else:
                    self._find(ZImageError("ZI-SANDBOX-FOLDER", pack=name, found=one))
            if new and kind in folder_paths.folder_names_and_paths:
                folder_paths.folder_names_and_paths[kind][1].update(suffixes)


def listed(names: list[str]) -> Said:
    """Names in one sentence, the first of them if there are many."""
    text, more = ", ".join(names[:MOST_LISTED]), len(names) - MOST_LISTED
    if more <= 0:
        return Said(text, text)
    return Said(f"{text} and {more} more", f"{text} 等 {len(names)} 个")


def _install(path: str, module: str) -> str:
    """The command that installs what a pack needs, as far as one can know."""
    listed = os.path.join(path, "requirements.txt")
    if os.path.isfile(listed):
        return f"pip install -r {shlex.quote(listed)}"
    return f"pip install {shlex.quote(module.partition('.')[0])}"


def _known(kind: str, path: str) -> bool:
    import folder_paths

    return path in folder_paths.folder_names_and_paths.get(kind, ([], set()))[0]


def lies_in(path: str, root: str) -> bool:
    """Whether a path, links followed, is a folder or below it."""
    real, base = os.path.realpath(path), os.path.realpath(root)
    return os.path.isabs(path) and os.path.commonpath([real, base]) == base

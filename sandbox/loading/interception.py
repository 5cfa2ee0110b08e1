"""Hooks that keep packs in sandboxes out of ComfyUI's process while it starts.

ComfyUI runs the ``prestartup_script.py`` of every pack, then imports ``nodes``, then has ``nodes``
load the packs. After our own script has run, the scripts of packs that belong in a sandbox are
skipped. ``nodes`` gets a loader that knows about sandboxes as soon as it is imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...config import PACK_DIR
from ...errors import ZImageError
from ...errors.bilingual import Bilingual
from ...patches.base import sandbox_source
from ...patches.base.hooks import HookPoint, Patch
from ..host.supervisor import Supervisor, name_of
from ..policy.policy import Policy, read
from .loader import PackLoader

log = logging.getLogger(__name__)

SCRIPT = "prestartup_script.py"
LOADER = HookPoint("nodes", "load_custom_node", ("module_path", "ignore", "module_parent"))

state: Interception | None = None
"""The hooks of this process, if there are any."""


class Interception:
    """The hooks between ComfyUI and other packs.

    Args:
        policy: which packs run where.
        home: folder for what sandboxes store.
        load_no_pack: makes ComfyUI load no other pack.
    """

    def __init__(self, policy: Policy, home: Path, load_no_pack: Callable[[], None]) -> None:
        self.policy = policy
        self.load_no_pack = load_no_pack
        self.supervisor = Supervisor(policy, home)
        self.loader = PackLoader(policy, self.supervisor)
        self.patch = Patch(LOADER, self.loader.wrap)
        self._original_spec = importlib.util.spec_from_file_location

    def begin(self) -> None:
        """Skip scripts from now on, and patch ``nodes`` once it is imported."""
        importlib.util.spec_from_file_location = self._spec
        if "nodes" in sys.modules:
            self._patch_nodes(sys.modules["nodes"])
        else:
            sys.meta_path.insert(0, AfterImport("nodes", self._patch_nodes))

    def _spec(self, name: Any, location: Any = None, **more: Any) -> Any:
        """Replace ``spec_from_file_location`` while ComfyUI runs the scripts of packs."""
        if location is not None and os.path.basename(str(location)) == SCRIPT:
            pack = os.path.dirname(str(location))
            if self.loader.place(pack) != "host":
                return importlib.machinery.ModuleSpec(str(name), SkippedScript())
        return self._original_spec(name, location, **more)

    def _patch_nodes(self, _module: types.ModuleType) -> None:
        importlib.util.spec_from_file_location = self._original_spec
        try:
            self.patch.apply()
        except Exception as error:
            log.exception("Z-Image: other packs are not in sandboxes")
            self._report_unfit(error)

    def _report_unfit(self, error: Exception) -> None:
        """Report in the log, ``/health`` and the panel that sandboxes do not fit this ComfyUI."""
        required = self.policy.requires_sandbox
        finding = ZImageError(
            "ZI-SANDBOX-UNFIT",
            found=str(error),
            what=Bilingual("不会加载", "are not loaded")
            if required
            else Bilingual("在 ComfyUI 的进程内运行", "run in ComfyUI's process"),
        )
        log.error("%s", finding)
        self.loader.findings.append(finding)
        sandbox_source.set_source(self.loader.web.describe)
        if required:
            self.load_no_pack()


class AfterImport(importlib.abc.MetaPathFinder):
    """A finder that calls a function once a module has been imported by the usual finders.

    Args:
        name: of the module.
        callback: gets the module.
    """

    def __init__(self, name: str, callback: Callable[[types.ModuleType], None]) -> None:
        self.name = name
        self.callback = callback

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the usual spec of that one module, with a loader that makes the call."""
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _CallingLoader(spec.loader, self.callback)
        return spec


class _CallingLoader(importlib.abc.Loader):
    """The loader of a module, followed by a call."""

    def __init__(self, loader: Any, callback: Callable[[types.ModuleType], None]) -> None:
        self.loader = loader
        self.callback = callback

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self.loader.exec_module(module)
        self.callback(module)


class SkippedScript(importlib.abc.Loader):
    """A loader that does not run the script of a pack: its worker does."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave the module to Python."""
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        """Run nothing."""
        log.info("Z-Image: %s runs in its sandbox", module.__name__)


def install(mode: str | None, first: bool, load_no_pack: Callable[[], None]) -> Interception | None:
    """Install the hooks, unless the mode is ``off`` and no pack has a rule of its own.

    Args:
        mode: replaces the mode in ``sandbox.toml``.
        first: no script of a pack has run yet.
        load_no_pack: makes ComfyUI load no other pack; called if a pack would run in ComfyUI's
            process although it must not.
    """
    global state
    import folder_paths

    folder = Path(folder_paths.get_user_directory()) / "__zimage"
    policy = read(folder / "sandbox.toml", mode)
    if policy.error is not None:
        log.error("%s", policy.error)
    if state is None and (policy.mode != "off" or any(r.run for r in policy.packs.values())):
        state = Interception(policy, folder / "sandboxes", load_no_pack)
        state.begin()
        for name in () if first else _already_run(state):
            log.warning("Z-Image: %s: its %s ran in ComfyUI's process", name, SCRIPT)
    return state


def _already_run(interception: Interception) -> list[str]:
    """Return the packs that belong in a sandbox and whose scripts ComfyUI ran before ours."""
    import folder_paths

    names: list[str] = []
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        for entry in os.listdir(folder) if os.path.isdir(folder) else []:
            path = os.path.join(folder, entry)
            if os.path.realpath(path) == os.path.realpath(PACK_DIR):
                return names
            if not os.path.exists(os.path.join(path, SCRIPT)) or entry.endswith(".disabled"):
                continue
            if interception.loader.place(path) != "host":
                names.append(name_of(path))
    return names

"""Being there first: other packs' scripts and modules are met before ComfyUI runs them.

ComfyUI runs the ``prestartup_script.py`` of every pack, then imports ``nodes``, then has ``nodes``
load the packs. From our own script on, scripts of packs that belong in a sandbox are left out, and
``nodes`` gets a loader that knows about sandboxes as soon as it is imported.
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

from ...errors import ZImageError
from ...patches.base.hooks import HookPoint, Patch
from ...patches.monitoring import sandbox_source
from ..host.supervisor import Supervisor, name_of
from ..policy.policy import Policy, read
from .loader import Loading

log = logging.getLogger(__name__)

SCRIPT = "prestartup_script.py"
LOADER = HookPoint("nodes", "load_custom_node", ("module_path", "ignore", "module_parent"))

state: Interception | None = None
"""What is in place in this process, if anything is."""


class Interception:
    """What has been put between ComfyUI and other packs.

    Args:
        policy: which packs run where.
        home: folder for what sandboxes keep.
        none: has ComfyUI load no other pack.
    """

    def __init__(self, policy: Policy, home: Path, none: Callable[[], None]) -> None:
        self.policy, self.none = policy, none
        self.supervisor = Supervisor(policy, home)
        self.loading = Loading(policy, self.supervisor)
        self.patch = Patch(LOADER, self.loading.wrap)
        self._spec = importlib.util.spec_from_file_location

    def begin(self) -> None:
        """Leave scripts out from here on, and wait for ``nodes``."""
        importlib.util.spec_from_file_location = self._script
        if "nodes" in sys.modules:
            self._nodes(sys.modules["nodes"])
        else:
            sys.meta_path.insert(0, AfterImport("nodes", self._nodes))

    def _script(self, name: Any, location: Any = None, **more: Any) -> Any:
        """In the place of ``spec_from_file_location`` while scripts are run."""
        if location is not None and os.path.basename(str(location)) == SCRIPT:
            pack = os.path.dirname(str(location))
            if self.loading.place(pack) != "host":
                return importlib.machinery.ModuleSpec(str(name), Nothing())
        return self._spec(name, location, **more)

    def _nodes(self, _module: types.ModuleType) -> None:
        importlib.util.spec_from_file_location = self._spec
        try:
            self.patch.apply()
        except Exception as error:
            log.exception("Z-Image: other packs are not in sandboxes")
            self._unfit(error)

    def _unfit(self, error: Exception) -> None:
        """Never in silence: told in the log, in ``/health`` and in the panel."""
        closed = self.policy.requires_sandbox
        told = ZImageError(
            "ZI-SANDBOX-UNFIT",
            found=str(error),
            what_zh="不会加载" if closed else "在 ComfyUI 的进程内运行",
            what_en="are not loaded" if closed else "run in ComfyUI's process",
        )
        log.error("%s", told)
        self.loading.findings.append(told)
        sandbox_source.tell(self.loading.web.describe)
        if closed:
            self.none()


class AfterImport(importlib.abc.MetaPathFinder):
    """Calls a function once a module has been imported, however that is found."""

    def __init__(self, name: str, then: Callable[[types.ModuleType], None]) -> None:
        self.name, self.then = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """For that one module: its usual spec, with a loader that calls us."""
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader, self.then)
        return spec


class _Then(importlib.abc.Loader):
    def __init__(self, loader: Any, then: Callable[[types.ModuleType], None]) -> None:
        self.loader, self.then = loader, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self.loader.exec_module(module)
        self.then(module)


class Nothing(importlib.abc.Loader):
    """The script of a pack in a sandbox, as seen from the host."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        log.info("Z-Image: %s runs in its sandbox", module.__name__)


def install(mode: str | None, first: bool, none: Callable[[], None]) -> Interception | None:
    """Begin, unless the mode is ``off`` and no pack has a rule of its own.

    Args:
        mode: takes the place of the one in ``sandbox.toml``.
        first: no script of a pack has run yet.
        none: has ComfyUI load no other pack; called if a pack that must not run in its process
            would.
    """
    global state
    import folder_paths

    folder = Path(folder_paths.get_user_directory()) / "__zimage"
    policy = read(folder / "sandbox.toml", mode)
    if policy.error is not None:
        log.error("%s", policy.error)
    if state is None and (policy.mode != "off" or any(r.run for r in policy.packs.values())):
        state = Interception(policy, folder / "sandboxes", none)
        state.begin()
        for name in () if first else _before():
            log.warning("Z-Image: %s: its %s ran in ComfyUI's process", name, SCRIPT)
    return state


def _before() -> list[str]:
    """Packs that belong in a sandbox, whose scripts ComfyUI has run before ours."""
    import folder_paths

    from ...config import PACK_DIR

    assert state is not None  # noqa: S101  only called once it is
    found = []
    for folder in folder_paths.get_folder_paths("custom_nodes"):
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            path = os.path.join(folder, name)
            if os.path.realpath(path) == os.path.realpath(PACK_DIR):
                return found
            has = os.path.exists(os.path.join(path, SCRIPT)) and not name.endswith(".disabled")
            if has and state.loading.place(path) != "host":
                found.append(name_of(path))
    return found

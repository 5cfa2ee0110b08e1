"""Finds the ComfyUI to use, and the Python and arguments to start it with."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..config import Settings
from . import bootstrap, device
from .terminal import LACKING, Stop


@dataclass(frozen=True)
class Host:
    """A ComfyUI folder and how to run it.

    Attributes:
        path: the folder that holds ``main.py``.
        python: the interpreter to start it with.
        source: why it was chosen: ``argument``, ``custom_nodes``, ``environment`` or ``embedded``.
    """

    path: Path
    python: Path
    source: str

    @property
    def custom_nodes(self) -> Path:
        """The folder that this host loads packs from."""
        return self.path / "custom_nodes"

    @property
    def version(self) -> str:
        """The host's own version, ``unknown`` for very old ones."""
        try:
            text = (self.path / "comfyui_version.py").read_text(encoding="utf-8")
        except OSError:
            return "unknown"
        match = re.search(r'__version__\s*=\s*"([^"]+)"', text)
        return match.group(1) if match else "unknown"

    def has_pack(self, pack: Path) -> bool:
        """Return whether ``pack``, or a link to it, is in ``custom_nodes``."""
        try:
            return any(entry.resolve() == pack.resolve() for entry in self.custom_nodes.iterdir())
        except OSError:
            return False

    def device_arguments(self) -> list[str]:
        """Return ComfyUI arguments for this machine: without a GPU, the CPU with fast attention."""
        if device.usable(embedded=self.source == "embedded"):
            return []
        return ["--cpu", "--use-pytorch-cross-attention"]


def discover(settings: Settings, pack: Path, explicit: str | None = None) -> Host:
    """Return the first host of these: ``--comfyui``, around this pack, ``$COMFYUI_PATH``, embedded.

    Raises:
        Stop: ``ZI-HOST-MISSING`` when a named folder is not a ComfyUI.
    """
    if explicit:
        return _users_host(Path(explicit).expanduser().absolute(), "argument", settings, pack)
    if pack.parent.name == "custom_nodes" and not _missing_file(pack.parent.parent):
        return _users_host(pack.parent.parent, "custom_nodes", settings, pack)
    if settings.comfyui:
        return _users_host(settings.comfyui, "environment", settings, pack)
    prepared = bootstrap.paths(settings, pack)
    return Host(prepared.host, prepared.python, "embedded")


def _users_host(path: Path, source: str, settings: Settings, pack: Path) -> Host:
    missing = _missing_file(path)
    if missing:
        raise Stop(LACKING, "ZI-HOST-MISSING", path=path, found=missing)
    return Host(path, _python_of(path, settings, pack), source)


def _missing_file(path: Path) -> str | None:
    for name in ("main.py", "nodes.py", "comfy"):
        if not (path / name).exists():
            return name
    return None


def _python_of(path: Path, settings: Settings, pack: Path) -> Path:
    """Return the Python of a user's ComfyUI: its environment, the active one, else ours."""
    for env in (path / ".venv", path / "venv", settings.active_env, Path(sys.prefix)):
        if env and _runs_comfyui(env):
            return env / "bin" / "python"
    return bootstrap.paths(settings, pack).python


def _runs_comfyui(env: Path) -> bool:
    """Return whether an environment has a supported Python with PyTorch and ComfyUI's page."""
    if not os.access(env / "bin" / "python", os.X_OK):  # a link to an uninstalled Python
        return False
    for minor in (11, 12, 13):
        packages = env / "lib" / f"python3.{minor}" / "site-packages"
        if (packages / "torch").is_dir() and (packages / "comfyui_frontend_package").is_dir():
            return True
    return False

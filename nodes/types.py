"""Shared by the nodes: category, limits of number widgets, and names and paths of models."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..engine.safetensors_file import size_of
from ..errors import ZImageError

CATEGORY = "Z-Image"

# Widgets accept a wide range, so that the node refuses a wrong value with a coded error in both
# languages. The host's own error would only show the number.
INT_MIN, INT_MAX = -(2**31), 2**31
FLOAT_MIN, FLOAT_MAX = -1e9, 1e9

DIFFUSERS = "diffusers/"
_PARTS = {"diffusion_models": "transformer", "text_encoders": "text_encoder", "vae": "vae"}


def model_names(kind: str) -> list[str]:
    """Return the files of a kind of model, then official folders as ``diffusers/NAME``."""
    files = list(folder_paths.get_filename_list(kind))
    part = _PARTS.get(kind)
    return files + [f"{DIFFUSERS}{name}" for name in (_official(part) if part else ())]


def model_path(kind: str, name: str) -> Path:
    """Return the file or folder of a name of :func:`model_names`.

    Raises:
        ZImageError: ``ZI-FILE-MISSING``; ``ZI-FILE-UNREADABLE`` for a broken link, or for a file in
            a folder without permission.
    """
    folders = folder_paths.get_folder_paths(kind)
    official = _official(_PARTS[kind]) if name.startswith(DIFFUSERS) and kind in _PARTS else {}
    if name.removeprefix(DIFFUSERS) in official:
        return official[name.removeprefix(DIFFUSERS)]
    path = folder_paths.get_full_path(kind, name)
    if path is None:
        _refuse_unreadable(name, folders)
        raise ZImageError("ZI-FILE-MISSING", path=name, folder=folders[0] if folders else kind)
    return Path(path)


def _refuse_unreadable(name: str, folders: list[str]) -> None:
    """Raise ``ZI-FILE-UNREADABLE`` if a folder has the name, but not as a file to read."""
    inside = os.path.relpath(os.path.join("/", name), "/")  # as the host does
    for folder in folders:
        try:
            size_of(Path(folder, inside))
        except ZImageError as error:
            if error.code != "ZI-FILE-MISSING":
                raise


def _official(part: str) -> dict[str, Path]:
    """Return ``part`` of every official folder ``models/diffusers/NAME``, by name."""
    folders: dict[str, Path] = {}
    for root in map(Path, folder_paths.get_folder_paths("diffusers")):
        for config in sorted(root.glob("*/transformer/config.json")):
            folder = config.parent.parent / part
            if folder.is_dir():
                folders.setdefault(config.parent.parent.name, folder)
    return folders

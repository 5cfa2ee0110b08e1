"""The model files that a host finds, each checked by its header. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..engine.safetensors_file import read_header, size_of
from ..errors import ZImageError
from .terminal import problem

KINDS = ("diffusion_models", "text_encoders", "vae")
SUFFIXES = {".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf"}


def report(pack: Path, folders: dict[str, list[str]]) -> dict[str, Any]:
    """Return every model file by kind, with the problems found.

    Args:
        pack: the pack, for the small family in ``demo/models``.
        folders: the host's own model folders by kind; may be empty.
    """
    part: dict[str, Any] = {}
    problems: list[dict[str, str]] = []
    for kind in KINDS:
        places = [pack / "demo" / "models" / kind, *map(Path, folders.get(kind, []))]
        part[kind] = [_entry(file, place) for place in _unique(places) for file in _files(place)]
        for entry in part[kind]:
            if entry["problem"]:
                problems.append(entry["problem"])
        if all(entry["problem"] for entry in part[kind]):
            error = ZImageError("ZI-MODELS-NONE", kind=kind, folder=_advised(places, kind))
            problems.append(problem(error))
    return {**part, "problems": problems}


def _entry(file: Path, place: Path) -> dict[str, Any]:
    """Return the name (as the loader shows it), path, size in bytes, and a problem or None.

    The size is 0 for a file that the system does not read.
    """
    entry: dict[str, Any] = {
        "name": str(file.relative_to(place)),
        "path": str(file),
        "bytes": 0,
        "problem": None,
    }
    try:
        entry["bytes"] = size_of(file)
        read_header(file)
    except ZImageError as error:
        entry["problem"] = problem(error, "note")
    return entry


def _advised(places: list[Path], kind: str) -> Path:
    """Return the folder for a file of this kind: the host's folder of that name."""
    return next((place for place in places[1:] if place.name == kind), places[-1])


def _files(folder: Path) -> list[Path]:
    # Broken links and files without permission are listed: the host lists them, too.
    files = (path for path in folder.rglob("*") if not os.path.isdir(path))
    return sorted(path for path in files if path.suffix.lower() in SUFFIXES)


def _unique(places: list[Path]) -> list[Path]:
    return list({place.resolve(): place for place in places}.values())

"""Old files, and the queue and folders of a host, for the disk guard."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NOW = 1_800_000_000.0
WEEK = 7 * 86400.0


class Queue:
    """What the guard takes of the host's queue."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.queue: list[tuple] = []
        self.currently_running: dict[int, tuple] = {}
        self.history: dict[str, Any] = {}

    def put(self, item: tuple) -> None:
        self.queue.append(item)


def write(path: Path, days: float = 30, size: int = 1000) -> Path:
    """A file that was last changed so many days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (NOW - days * 86400,) * 2)
    return path


def folder_paths(tmp_path: Path) -> SimpleNamespace:
    """ComfyUI's module of that name, with folders as it makes them; ``place`` has them by name."""
    base = tmp_path / "ComfyUI"
    place = {name: base / name for name in ("output", "temp", "input", "user", "models")}
    for path in place.values():
        path.mkdir(parents=True)
    models = [str(base / "models" / "loras"), str(base / "output" / "loras")]
    return SimpleNamespace(
        __file__=str(base / "folder_paths.py"),
        place=place,
        folder_names_and_paths={"loras": (models, set())},
        get_output_directory=lambda: str(place["output"]),
        get_temp_directory=lambda: str(place["temp"]),
        get_input_directory=lambda: str(place["input"]),
        get_user_directory=lambda: str(place["user"]),
    )

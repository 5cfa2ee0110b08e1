"""A second copy of the pack for one ComfyUI, under another name, whose templates can be edited."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from zimage_comfyui.cli.server import Server, write_paths

NAME = "坏模板 copy"
NOT_COPIED = (".git", "tests", "benchmarks", "docs", "models", "__pycache__", ".ci", ".venv")


class SecondPack:
    """The copy, without models, in a ``custom_nodes`` of its own.

    Args:
        pack: the real pack.
        folder: where the copy goes.
    """

    def __init__(self, pack: Path, folder: Path) -> None:
        ignore = shutil.ignore_patterns(*NOT_COPIED)
        self.path = Path(shutil.copytree(pack, folder / "packs" / NAME, ignore=ignore))
        config = folder / "second.yaml"
        write_paths(config, {"custom_nodes": str(self.path.parent)})
        self.arguments = ("--extra-model-paths-config", str(config))
        """What makes a ComfyUI load it beside the real one."""

    def template(self, name: str) -> Path:
        """The file of a template."""
        return self.path / "workflows" / f"{name}.json"

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a template; the file's time moves on, as it does between two edits."""
        path = self.template(name)
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
        moved = path.stat().st_mtime_ns + 10**9
        os.utime(path, ns=(moved, moved))


def told(server: Server) -> list[str]:
    """The lines of a server's log about broken templates."""
    lines = server.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if "ZI-TEMPLATE-BROKEN" in line]

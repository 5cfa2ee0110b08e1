"""``bench``: list the benchmarks or run one."""

from __future__ import annotations

import argparse
import ast
import os
import sys
from pathlib import Path

from ..config import PACK_DIR, Settings
from .host import discover
from .terminal import DONE, USAGE, Stop, document, result

FOLDER = PACK_DIR / "benchmarks"


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Replace this process by the benchmark; without a name, print the list."""
    known = catalogue(FOLDER)
    if options.name is None:
        if options.json:
            document([{"name": name, "description": text} for name, text in known.items()])
        else:
            for name, text in known.items():
                result(f"{name:12} {text}")
        return DONE
    if options.name not in known:
        raise Stop(USAGE, "ZI-BENCH-UNKNOWN", found=options.name, expected=", ".join(known) or "-")
    arguments = (["--json"] if options.json else []) + options.rest
    env = {
        **os.environ,
        "ZIMAGE_COMFYUI_DIR": str(discover(settings, PACK_DIR).path),
        "ZIMAGE_PACK_DIR": str(PACK_DIR),
    }
    file = str(FOLDER / f"{options.name}.py")
    os.execve(sys.executable, [sys.executable, file, *arguments], env)  # noqa: S606


def catalogue(folder: Path) -> dict[str, str]:
    """Return the benchmarks by name, each with the first line of its docstring."""
    descriptions = {}
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_"):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            descriptions[path.stem] = text.partition("\n")[0]
    return descriptions

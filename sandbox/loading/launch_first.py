"""Start ComfyUI with this pack's script first: ``python launch_first.py MAIN ARGUMENT …``.

ComfyUI runs the packs' scripts in the order in which the file system lists their folders.
This file uses the standard library only: it runs by path, before ComfyUI and this package.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from typing import Any

SCRIPT = "prestartup_script.py"
FIRST = "zimage_first"
"""Module name of that script when it runs from here."""
PACK = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main(argv: list[str]) -> None:
    """Run ``argv[1]`` as Python would, with the rest as its arguments."""
    sys.argv = argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(argv[1]))
    original = importlib.util.spec_from_file_location

    def ours_first(name: Any, location: Any = None, **more: Any) -> Any:
        if os.path.basename(str(location)) != SCRIPT:
            return original(name, location, **more)
        importlib.util.spec_from_file_location = original
        _run_ours()
        return importlib.util.spec_from_file_location(name, location, **more)

    importlib.util.spec_from_file_location = ours_first
    runpy.run_path(argv[1], run_name="__main__")


def _run_ours() -> None:
    """Run our script by the path under which ComfyUI will load this pack.

    If ComfyUI does not list this pack, its script does not run here.
    """
    import folder_paths

    for folder in folder_paths.get_folder_paths("custom_nodes"):
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            path = os.path.join(folder, name)
            if os.path.realpath(path) == os.path.realpath(PACK):
                runpy.run_path(os.path.join(path, SCRIPT), run_name=FIRST)
                return


if __name__ == "__main__":
    main(sys.argv)

"""Start ComfyUI as ``loading/launch_first.py`` does; users call this path in their scripts."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.argv[0] = str(Path(__file__).resolve().with_name("loading") / "launch_first.py")
    runpy.run_path(sys.argv[0], run_name="__main__")

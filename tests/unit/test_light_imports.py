"""The light parts start without torch and without the host: their tests and tools are quick."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKER = """
import importlib.abc, importlib.util, sys

class Blocker(importlib.abc.MetaPathFinder):
    HEAVY = {"torch", "comfy", "comfy_api", "folder_paths", "numpy", "PIL", "safetensors",
             "transformers", "aiohttp"}
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in self.HEAVY:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
root, name = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    "zimage_comfyui", root + "/__init__.py", submodule_search_locations=[root])
pack = importlib.util.module_from_spec(spec)
sys.modules["zimage_comfyui"] = pack
spec.loader.exec_module(pack)
importlib.import_module(name)
"""

ROOT = Path(__file__).resolve().parents[2]
LIGHT = [
    "zimage_comfyui",
    "zimage_comfyui.config",
    "zimage_comfyui.errors",
    "zimage_comfyui.page.live",
    "zimage_comfyui.page.templates",
    "zimage_comfyui.page.tokens",
    "zimage_comfyui.text.encoder_limits",
    "zimage_comfyui.text.prompt_rules",
    "zimage_comfyui.text.spans",
    *(
        f"zimage_comfyui.validator.{path.stem}"
        for path in sorted((ROOT / "validator").glob("*.py"))
    ),
    *(f"zimage_comfyui.cli.{path.stem}" for path in sorted((ROOT / "cli").glob("*.py"))),
]


def _import(name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", BLOCKER, str(ROOT), name]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_light_modules_import_with_torch_blocked() -> None:
    """One process imports every light module while torch and the host cannot be found."""
    names = ",".join(LIGHT)
    blocked = BLOCKER.replace(
        "importlib.import_module(name)", "[importlib.import_module(n) for n in name.split(',')]"
    )
    command = [sys.executable, "-I", "-c", blocked, str(ROOT), names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["torch", "zimage_comfyui.engine.host"])
def test_the_blocker_blocks(name: str) -> None:
    """The proof above proves something: what needs torch or the host fails under it."""
    done = _import(name)
    assert done.returncode == 1
    assert "is blocked" in done.stderr

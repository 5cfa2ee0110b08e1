"""The examples of the API pages, run as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from zimage_comfyui.cli.server import Server

PAGES = ("docs/api.md", "docs/api.zh-CN.md")
ADDRESS = "http://127.0.0.1:8188"


def _block(page: Path, language: str, word: str) -> str:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (example,) = (block for block in blocks if word in block)
    return example


def _pictures(command: list[str], folder: Path, pack: Path) -> list[Path]:
    (folder / "workflows").symlink_to(pack / "workflows")
    env = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    subprocess.run(command, cwd=folder, env=env, check=True, timeout=600)
    return sorted(folder.glob("*.webp"))


@pytest.mark.parametrize("name", PAGES)
def test_curl_example_fetches_a_picture(
    server: Server, pack_dir: Path, tmp_path: Path, name: str
) -> None:
    """The curl example fetches a picture by /prompt, /history and /view."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed / 未安装 curl")
    script = _block(pack_dir / name, "sh", "curl").replace(ADDRESS, server.url)
    (picture,) = _pictures(["bash", "-euc", script], tmp_path, pack_dir)
    with Image.open(picture) as image:
        assert image.size == (112, 144)


@pytest.mark.parametrize("name", PAGES)
def test_python_example_fetches_a_picture(
    server: Server, pack_dir: Path, tmp_path: Path, name: str
) -> None:
    """The Python example does the same with the standard library alone."""
    script = _block(pack_dir / name, "python", "urlopen").replace(ADDRESS, server.url)
    (picture,) = _pictures([sys.executable, "-I", "-c", script], tmp_path, pack_dir)
    with Image.open(picture) as image:
        assert image.size == (144, 112)

"""The examples of both READMEs, run as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from zimage_comfyui.cli.arguments import parse
from zimage_comfyui.cli.server import Server

READMES = ("README.md", "README.zh-CN.md")
ADDRESS = "http://127.0.0.1:8188"


def _block(readme: Path, language: str, word: str) -> str:
    text = readme.read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    (found,) = (block for block in blocks if word in block)
    return found


def _pictures(command: list[str], folder: Path, pack: Path) -> list[Path]:
    (folder / "workflows").symlink_to(pack / "workflows")
    env = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    subprocess.run(command, cwd=folder, env=env, check=True, timeout=600)
    return sorted(folder.glob("*.webp"))


@pytest.mark.parametrize("name", READMES)
def test_curl_example_fetches_a_picture(
    server: Server, pack_dir: Path, tmp_path: Path, name: str
) -> None:
    """POST /prompt, /history and /view from a shell."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed / 未安装 curl")
    script = _block(pack_dir / name, "sh", "curl").replace(ADDRESS, server.url)
    (picture,) = _pictures(["bash", "-euc", script], tmp_path, pack_dir)
    with Image.open(picture) as image:
        assert image.size == (112, 144)


@pytest.mark.parametrize("name", READMES)
def test_python_example_fetches_a_picture(
    server: Server, pack_dir: Path, tmp_path: Path, name: str
) -> None:
    """The same with the standard library alone."""
    script = _block(pack_dir / name, "python", "urlopen").replace(ADDRESS, server.url)
    (picture,) = _pictures([sys.executable, "-I", "-c", script], tmp_path, pack_dir)
    with Image.open(picture) as image:
        assert image.size == (144, 112)


@pytest.mark.parametrize("name", READMES)
def test_printed_commands_are_understood(pack_dir: Path, name: str) -> None:
    """Every ./zimage line in the READMEs is one that the command line accepts."""
    import shlex

    text = (pack_dir / name).read_text(encoding="utf-8")
    lines = re.findall(r"^\./zimage [^#\n]*", text, re.MULTILINE)
    lines += re.findall(r"`(\./zimage [^`]*)`", text)
    for line in lines:
        if "--help" not in line:
            assert parse(shlex.split(line)[1:]).command


@pytest.mark.parametrize("name", READMES)
def test_links_lead_somewhere(pack_dir: Path, name: str) -> None:
    """Files that a README names exist."""
    text = (pack_dir / name).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", text):
        path = "".join(target)
        assert path.startswith("https://") or (pack_dir / path).exists(), path

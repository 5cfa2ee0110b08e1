"""The lock file: complete, hashed, and free of addresses; what users install replaces nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zimage_comfyui.cli.install import pinned


@pytest.fixture(scope="module")
def lock(pack_dir: Path) -> str:
    """The text of requirements.lock."""
    return (pack_dir / "requirements.lock").read_text(encoding="utf-8")


def test_every_entry_is_pinned_and_hashed(lock: str) -> None:
    """No entry can be replaced by another file of the same name."""
    entries = re.split(r"\n(?=[a-zA-Z0-9])", re.sub(r"^\s*#.*\n", "", lock, flags=re.MULTILINE))
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[A-Za-z0-9_.-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_no_addresses_and_no_machine_paths(lock: str) -> None:
    """The person's own index settings decide where packages come from."""
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links|(?<!sys_)/\w+/", lock)


def test_torch_family_is_a_matching_set(lock: str) -> None:
    """ComfyUI imports all three, and mixed builds fail."""
    versions = dict(re.findall(r"^(torch|torchvision|torchaudio)==(\S+)", lock, re.MULTILINE))
    assert versions == {"torch": "2.11.0", "torchvision": "0.26.0", "torchaudio": "2.11.0"}


def test_pinned_takes_one_entry_whole(lock: str) -> None:
    """The bootstrap installs uv from the lock's own entry, hashes included."""
    text = pinned("uv", lock.encode())
    assert text.startswith("uv==")
    assert text.count("--hash=sha256:") > 3
    assert "==" not in text.partition(" ")[2].replace("sys_platform == ", "")
    with pytest.raises(KeyError):
        pinned("no-such-package", lock.encode())


def test_requirements_of_users_name_one_small_library(pack_dir: Path) -> None:
    """The page's manager must never replace somebody's torch or transformers."""
    lines = (pack_dir / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.strip() and not line.startswith("#")]
    assert found == ["msgspec>=0.19"]

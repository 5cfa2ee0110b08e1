"""Stored descriptions of packs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zimage_comfyui.sandbox.host.description_cache import Descriptions, digest_of, state_of
from zimage_comfyui.sandbox.policy.policy import PackRule
from zimage_comfyui.sandbox.protocol.messages import NodeInfo, PackInfo


def test_a_description_is_stored_for_exactly_one_state_of_a_pack(tmp_path: Path) -> None:
    """A changed file, rule or ComfyUI changes the digest, and only the newest description stays."""
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "__init__.py").write_text("a = 1")
    first = digest_of(str(folder), PackRule(), (), "1")
    assert first == digest_of(str(folder), PackRule(), (), "1")
    others = {digest_of(str(folder), PackRule(network=True), (), "1")}
    others.add(digest_of(str(folder), PackRule(), ("KSampler",), "1"))
    others.add(digest_of(str(folder), PackRule(), (), "2"))
    (folder / "__init__.py").write_text("a = 2")
    others.add(digest_of(str(folder), PackRule(), (), "1"))
    (folder / "nodes.py").write_text("")
    others.add(digest_of(str(folder), PackRule(), (), "1"))
    assert len(others | {first}) == 6
    stored = Descriptions(tmp_path / "stored")
    info = PackInfo(True, [NodeInfo("N", None, False, None, None, None, {}, False)])
    stored.save("pack[1]", first, info)
    stored.save("pack[1]", "other", info)
    assert stored.load("pack[1]", "other") == info
    assert stored.load("pack[1]", first) is None


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "nothing", "itself"])
def test_special_files_are_not_read(tmp_path: Path, kind: str) -> None:
    """The digest does not read devices, pipes and links, which may have no end."""
    path = tmp_path / "pack" / "data.json"
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        to = {"device": "/dev/zero", "folder": "/", "nothing": "/no/such", "itself": str(path)}
        path.symlink_to(to[kind])
    assert len(digest_of(str(path.parent), PackRule(), (), "1")) == 32


def test_the_state_of_files_changes_with_them(tmp_path: Path) -> None:
    """A new file changes the state of its folder, new text that of a file; both may be missing."""
    file = tmp_path / "list.txt"
    paths = [str(tmp_path), str(file), "/no/such", "\0"]
    states = {state_of(paths), state_of([])}
    file.write_text("a")
    states.add(state_of(paths))
    assert state_of(paths) in states
    file.write_text("ab")
    states.add(state_of(paths))
    assert len(states) == 4


def test_a_description_replaces_only_those_of_its_own_pack(tmp_path: Path) -> None:
    """Packs whose names have a common prefix or special characters do not affect each other."""
    stored, info = Descriptions(tmp_path), PackInfo(True, [])
    names = ("a", "a.b", "a.b.c", "a*", "a.*", "ab", ".a")
    for digest in ("0" * 32, "1" * 32):
        for name in names:
            stored.save(name, digest, info)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{n}.{'1' * 32}" for n in names
    )
    assert all(stored.load(name, "1" * 32) == info for name in names)


def test_a_damaged_description_counts_as_missing(tmp_path: Path) -> None:
    """A file that cannot be decoded is not used."""
    stored = Descriptions(tmp_path)
    (tmp_path / "pack.digest").write_bytes(b"\x93")
    assert stored.load("pack", "digest") is None

"""Descriptions of packs that are kept from start to start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zimage_comfyui.sandbox.loading.description_cache import Descriptions, digest_of, state_of
from zimage_comfyui.sandbox.policy.policy import PackRule
from zimage_comfyui.sandbox.protocol.messages import NodeInfo, PackInfo


def test_a_description_is_stored_for_exactly_one_state_of_a_pack(tmp_path: Path) -> None:
    """Another file, rule or ComfyUI is another digest; only the newest is kept."""
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
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """A pack may have a link to anywhere, or something that never ends."""
    path = tmp_path / "pack" / "data.json"
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        to = {"device": "/dev/zero", "folder": "/", "nothing": "/no/such", "itself": str(path)}
        path.symlink_to(to[kind])
    assert len(digest_of(str(path.parent), PackRule(), (), "1")) == 32


def test_the_state_of_files_changes_with_them(tmp_path: Path) -> None:
    """A new file changes its folder, other text a file; what is not there has a state, too."""
    file = tmp_path / "list.txt"
    paths = [str(tmp_path), str(file), "/no/such", "\0"]
    found = {state_of(paths), state_of([])}
    file.write_text("a")
    found.add(state_of(paths))
    assert state_of(paths) in found
    file.write_text("ab")
    found.add(state_of(paths))
    assert len(found) == 4


def test_a_description_takes_the_place_of_its_own_packs_alone(tmp_path: Path) -> None:
    """Of packs whose names begin alike, whatever characters are in them, each keeps its own."""
    stored, info = Descriptions(tmp_path), PackInfo(True, [])
    names = ("a", "a.b", "a.b.c", "a*", "a.*", "ab", ".a")
    for digest in ("0" * 32, "1" * 32):
        for name in names:
            stored.save(name, digest, info)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(
        f"{n}.{'1' * 32}" for n in names
    )
    assert all(stored.load(name, "1" * 32) == info for name in names)


def test_a_description_that_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    """Half a file is none."""
    stored = Descriptions(tmp_path)
    (tmp_path / "pack.digest").write_bytes(b"\x93")
    assert stored.load("pack", "digest") is None

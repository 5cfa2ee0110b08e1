"""Tensors are what is in the file, whatever their type and place, and nothing is kept of them."""

from __future__ import annotations

import copy
import errno
import gc
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from zimage_comfyui.engine.weights import TORCH_DTYPES, open_weights
from zimage_comfyui.errors import ZImageError


def every_type() -> dict[str, torch.Tensor]:
    """One tensor of each type, a scalar, and one without elements."""
    drawn = torch.randint(0, 2, (3, 5), generator=torch.Generator().manual_seed(1))
    tensors = {name: drawn.to(dtype) for name, dtype in TORCH_DTYPES.items()}
    return {**tensors, "scalar": torch.tensor(2.5), "nothing": torch.empty(0, 7)}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """The same names, types, shapes and bytes."""

    def about(tensors: dict[str, torch.Tensor]) -> dict[str, tuple]:
        return {
            name: (one.dtype, one.shape, one.contiguous().flatten().view(torch.uint8).tolist())
            for name, one in tensors.items()
        }

    return about(a) == about(b)


def test_every_type_and_shape(tmp_path: Path) -> None:
    """As the library wrote them."""
    save_file(tensors := every_type(), tmp_path / "a.safetensors")
    assert same(open_weights(tmp_path / "a.safetensors").load(), tensors)


@pytest.mark.parametrize("more", range(1, 8))
def test_data_at_any_place(tmp_path: Path, more: int) -> None:
    """Libraries fill the header up to eight bytes; others need not."""
    file = tmp_path / "a.safetensors"
    save_file(tensors := every_type(), file)
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.dumps(json.loads(whole[8 : 8 + length])).encode()
    header += b" " * (8 - len(header) % 8 + more)
    file.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + length :])
    assert same(open_weights(file).load(), tensors)


@pytest.mark.parametrize("other", [{"a": torch.zeros(9)}, {"b": torch.zeros(4)}])
def test_a_file_that_changed_since(tmp_path: Path, other: dict[str, torch.Tensor]) -> None:
    """Is told, and nothing of it is used."""
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(4)}, file)
    weights = open_weights(file)
    save_file(other, file)
    with pytest.raises(ZImageError, match="ZI-FILE-CORRUPT"):
        weights.load()


def test_a_type_that_torch_lacks(tmp_path: Path) -> None:
    """Its name, and those there are."""
    file = tmp_path / "a.safetensors"
    entry = {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}
    header = json.dumps({"a": entry}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ZImageError, match="F4"):
        open_weights(file).load()


def test_a_tensor_is_copied_and_saved_by_itself(tmp_path: Path) -> None:
    """Not with the whole file, as one that shared its storage would be."""
    file, again = tmp_path / "a.safetensors", tmp_path / "again.safetensors"
    save_file(tensors := every_type(), file)
    loaded = open_weights(file).load()
    assert all(one.untyped_storage().nbytes() == one.nbytes for one in loaded.values())
    assert same(copy.deepcopy(loaded), tensors)
    save_file(loaded, again)
    del loaded
    assert same(open_weights(again).load(), tensors)


def test_tensors_can_be_changed_and_the_file_stays(tmp_path: Path) -> None:
    """The mapping is private."""
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(4)}, file)
    before = file.read_bytes()
    open_weights(file).load()["a"].add_(1)
    assert file.read_bytes() == before


def test_loading_again_and_again_keeps_nothing(tmp_path: Path) -> None:
    """A server does it for thousands of prompts."""
    file = tmp_path / "a.safetensors"
    save_file({str(n): torch.zeros(1) for n in range(200)}, file)
    weights = open_weights(file)
    counts = []
    for _ in range(6):
        weights.load()
        gc.collect()
        counts.append(sys.getallocatedblocks())
    assert counts[-1] - counts[1] < 200


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("unable to open file </m/a> in read-only mode: Permission denied (13)", "UNREADABLE"),
        ("unable to mmap 9 bytes from file </m/a>: Cannot allocate memory (12)", "UNREADABLE"),
        ("unable to open file </m/a> in read-only mode: No such file or directory (2)", "MISSING"),
        ("file </m/a> size <9> is smaller than the required mapping size <19>", "CORRUPT"),
    ],
)
def test_a_file_that_torch_does_not_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: str
) -> None:
    """The reason of the system is read from torch's text; only a changed file is corrupt."""
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(4)}, file)
    weights = open_weights(file)

    def refuse(*_: object) -> None:
        raise RuntimeError(f"{text}\nException raised from MapAllocator")

    monkeypatch.setattr(torch.UntypedStorage, "from_file", refuse)
    with pytest.raises(ZImageError) as caught:
        weights.load()
    assert caught.value.code == f"ZI-FILE-{code}"
    assert "raised from" not in str(caught.value)


@pytest.mark.parametrize("index", [True, False])
def test_a_folder_or_an_index_without_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: bool
) -> None:
    """Neither counts as a folder without models or as a broken index."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a.safetensors.index.json").touch()
    monkeypatch.setattr(*((Path, "read_text", refuse) if index else (os, "listdir", refuse)))
    with pytest.raises(ZImageError, match="ZI-FILE-UNREADABLE") as caught:
        open_weights(tmp_path)
    assert "没有权限" in caught.value.chinese


def test_a_link_to_a_missing_shard(tmp_path: Path) -> None:
    """The index names it and the folder has it, but there is nothing behind it."""
    index = {"weight_map": {"a": "a.safetensors"}}
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "a.safetensors").symlink_to("none")
    with pytest.raises(ZImageError, match="ZI-FILE-UNREADABLE"):
        open_weights(tmp_path)

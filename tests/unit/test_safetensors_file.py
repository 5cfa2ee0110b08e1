"""A safetensors header is believed only where the file bears it out."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from zimage_comfyui.engine.safetensors_file import read_header, short
from zimage_comfyui.errors import ZImageError

GOOD = {
    "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [4, 16]},
    "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
    "__metadata__": {"zimage": "{}"},
}


def write(path: Path, header: object, data: bytes = bytes(16), length: int | None = None) -> Path:
    """A file with this header; ``length`` overrides what it says about the header's length."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(raw) if length is None else length).to_bytes(8, "little") + raw + data)
    return path


def code_of(path: Path) -> str:
    with pytest.raises(ZImageError) as caught:
        read_header(path)
    return caught.value.code


def test_good_file(tmp_path: Path) -> None:
    """Types, shapes, ranges and metadata come back as they stand in the file."""
    header = read_header(write(tmp_path / "m.safetensors", GOOD))
    assert header.shapes == {"a": (), "b": (2, 3)}
    assert header.tensors["b"].dtype == "BF16"
    assert header.metadata == {"zimage": "{}"}


def changed(name: str, **entry: object) -> dict:
    return {**GOOD, name: {**GOOD[name], **entry}}


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"\xff\xfe{}",
        b"[]",
        b"{}",
        b'{"a":' + b"[" * 100_000,
        b'{"a": {}, "a": {}}',
        {**GOOD, "__metadata__": {"zimage": 1}},
        {**GOOD, "b": 7},
        changed("b", dtype="F12"),
        changed("b", dtype=["F16"]),
        changed("b", shape=[2, -3]),
        changed("b", shape=[2, 3.0]),
        changed("b", shape=[True, 6]),
        changed("b", shape=[1] * 9 + [6]),
        changed("b", shape=[2, 4]),
        changed("b", shape=[2**62, 2**62]),
        changed("b", data_offsets=[16, 4]),
        changed("b", data_offsets=[4]),
        changed("b", data_offsets=[0, 12]),
        changed("b", data_offsets=[8, 20]),
        changed("b", data_offsets=[2**70, 2**70 + 12]),
        {"b": changed("b")["b"]},
    ],
    ids=str,
)
def test_lying_header(tmp_path: Path, header: object) -> None:
    """Broken JSON, unknown types, impossible shapes, overlaps, gaps and ranges outside the file."""
    assert code_of(write(tmp_path / "m.safetensors", header)) == "ZI-FILE-CORRUPT"


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 40, -1])
def test_truncated_file(tmp_path: Path, size: int) -> None:
    """A download that stopped anywhere is noticed, down to the last byte."""
    path = write(tmp_path / "m.safetensors", GOOD)
    path.write_bytes(path.read_bytes()[:size])
    assert code_of(path) == "ZI-FILE-CORRUPT"


def test_trailing_bytes_and_huge_header(tmp_path: Path) -> None:
    """More data than described, or a header longer than the file, is as wrong as less."""
    longer = write(tmp_path / "long.safetensors", GOOD, bytes(17))
    assert code_of(longer) == "ZI-FILE-CORRUPT"
    assert code_of(write(tmp_path / "huge.safetensors", GOOD, length=2**63)) == "ZI-FILE-CORRUPT"
    assert code_of(write(tmp_path / "g.safetensors", b"x", length=0x46554747)) == "ZI-FILE-CORRUPT"


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".PTH", ".pkl"])
def test_pickle_by_name(tmp_path: Path, suffix: str) -> None:
    """Names of pickle checkpoints are refused whatever is inside."""
    assert code_of(write(tmp_path / f"m{suffix}", GOOD)) == "ZI-FILE-PICKLE"


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02}q", b"\x80\x04\x95"])
def test_pickle_by_content(tmp_path: Path, start: bytes) -> None:
    """A pickle that was renamed is refused too."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(start + bytes(100))
    assert code_of(path) == "ZI-FILE-PICKLE"


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 65536 + 640])
def test_header_length_like_a_pickle(tmp_path: Path, length: int) -> None:
    """A header whose length starts with the bytes of a pickle is read."""
    raw = json.dumps(GOOD).encode().ljust(length)
    assert read_header(write(tmp_path / "m.safetensors", raw)).shapes == {"a": (), "b": (2, 3)}


def test_one_byte_is_no_pickle(tmp_path: Path) -> None:
    """A file with only the first byte of a pickle is too short, not a pickle."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"\x80")
    assert code_of(path) == "ZI-FILE-CORRUPT"


def test_name_that_the_file_system_refuses(tmp_path: Path) -> None:
    """A path that cannot be looked up is a coded error."""
    assert code_of(tmp_path / ("x" * 300 + ".safetensors")) == "ZI-FILE-UNREADABLE"
    assert code_of(tmp_path / "a\0b.safetensors") == "ZI-FILE-MISSING"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """A path that is not a file says where it was looked for."""
    assert code_of(tmp_path / "none.safetensors") == "ZI-FILE-MISSING"
    assert code_of(write(tmp_path / "m", GOOD) / "x.safetensors") == "ZI-FILE-MISSING"


def test_what_is_no_file(tmp_path: Path) -> None:
    """A folder and a pipe are there, and are not opened; a pipe would block."""
    with pytest.raises(ZImageError) as caught:
        read_header(tmp_path)
    assert caught.value.code == "ZI-FILE-UNREADABLE"
    assert "文件夹" in caught.value.chinese
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert code_of(tmp_path / "pipe.safetensors") == "ZI-FILE-UNREADABLE"


def test_broken_links(tmp_path: Path) -> None:
    """The link is there, so the message is about its target."""
    (tmp_path / "a.safetensors").symlink_to(tmp_path / "none")
    with pytest.raises(ZImageError, match="ZI-FILE-UNREADABLE") as caught:
        read_header(tmp_path / "a.safetensors")
    assert "符号链接" in caught.value.chinese
    assert "symbolic link" in caught.value.english
    (tmp_path / "b.safetensors").symlink_to(tmp_path / "b.safetensors")
    assert code_of(tmp_path / "b.safetensors") == "ZI-FILE-UNREADABLE"


REASONS = [
    (errno.EACCES, "没有权限", "Permission denied"),
    (errno.EIO, "读写出错", "Input/output error"),
    (errno.ENOLCK, "系统报告", "No locks available"),
]


@pytest.mark.parametrize("function", ["stat", "open"])
@pytest.mark.parametrize(("number", "chinese", "english"), REASONS)
def test_a_file_that_the_system_does_not_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    number: int,
    chinese: str,
    english: str,
) -> None:
    """It is not called corrupt: a download would not help."""
    path = write(tmp_path / "m.safetensors", GOOD)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, function, refuse)
    with pytest.raises(ZImageError) as caught:
        read_header(path)
    assert caught.value.code == "ZI-FILE-UNREADABLE"
    assert chinese in caught.value.chinese
    assert english in caught.value.english


def test_a_file_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look-up and the opening, as one that was never there."""
    path = write(tmp_path / "m.safetensors", GOOD)

    def open_late(self: Path, *_: object) -> None:
        self.unlink()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(Path, "open", open_late)
    assert code_of(path) == "ZI-FILE-MISSING"


def test_message_tells_found_and_expected(tmp_path: Path) -> None:
    """Both languages name the file, what was found and what was expected."""
    path = write(tmp_path / "m.safetensors", changed("b", shape=[2, 4]))
    with pytest.raises(ZImageError, match=r"m\.safetensors.*12 bytes.*16 bytes"):
        read_header(path)


@pytest.mark.parametrize("shape", [[0, 10**30], [0, 2**63], [10**4000, 10**4000]], ids=len)
def test_numbers_without_bounds(tmp_path: Path, shape: list[int]) -> None:
    """Sizes that no tensor can have, also those that multiply to 0 or are too long to print."""
    header = {"b": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}}
    assert code_of(write(tmp_path / "m.safetensors", header, b"")) == "ZI-FILE-CORRUPT"


def test_names_are_made_fit_for_messages(tmp_path: Path) -> None:
    """Long names are cut, and what cannot be printed (or encoded) is replaced."""
    assert short("layers.0.x") == "layers.0.x"
    assert short("a\n\ud800b") == "a??b"
    assert len(short("x" * 10_000)) == 80
    path = write(tmp_path / "m.safetensors", {"\ud800" * 10_000: {"dtype": "F12"}}, b"")
    with pytest.raises(ZImageError) as caught:
        read_header(path)
    assert len(str(caught.value).encode()) < 900

"""Read and check the header of a safetensors file before any other code opens the file.

Format: 8 bytes of header length (little-endian), that many bytes of JSON, then one block of tensor
data. Every value of the header is compared with the file, because a wrong header would otherwise
crash the process or give noise.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TypeGuard

from ..errors import ZImageError, system
from ..errors.bilingual import Bilingual

PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"})
_ZIP_START = b"PK\x03\x04"  # torch.save writes a zip file with a pickle in it
_PICKLE_STARTS = frozenset({b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"})
MAX_HEADER_BYTES = 100_000_000
MAX_RANK = 8
_LIMIT = 2**63  # sizes and offsets are signed 64-bit integers in torch and in file systems
_NAME_LENGTH = 80
JSON_OBJECT = Bilingual("JSON 对象", "a JSON object")
"""What metadata of a file must be."""
ITEM_BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F4": 4,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}
"""Bits per element of every type of the format."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: type name as in the file, shape, and its byte range inside the data block."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """The checked header of a file: tensor name to :class:`TensorInfo`, and text metadata."""

    path: Path
    tensors: dict[str, TensorInfo] = field(repr=False)
    metadata: dict[str, str] = field(repr=False)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor name to shape."""
        return {name: info.shape for name, info in self.tensors.items()}


def read_header(path: str | os.PathLike[str]) -> Header:
    """Return the checked header of a safetensors file. Only the header is read.

    Raises:
        ZImageError: ``ZI-FILE-MISSING``; ``ZI-FILE-UNREADABLE`` for a file that the system does
            not read; ``ZI-FILE-PICKLE`` for anything that is, or is named like, a pickle;
            ``ZI-FILE-CORRUPT`` when header and file do not agree.
    """
    file = Path(path)
    size = size_of(file)
    if file.suffix.lower() in PICKLE_SUFFIXES:
        raise ZImageError("ZI-FILE-PICKLE", path=file.name)
    try:
        with file.open("rb") as stream:
            start = stream.read(9)
            _refuse_other_formats(file, start)
            if len(start) < 8:
                raise _corrupt(file, _bytes(size), _bytes(8, "至少 ", "at least "))
            length = int.from_bytes(start[:8], "little")
            if length > MAX_HEADER_BYTES or length > size - 8:
                largest = _bytes(min(MAX_HEADER_BYTES, size - 8), "最多 ", "at most ")
                raise _corrupt(file, _bytes(length, "文件头长度 ", "header length "), largest)
            stream.seek(8)
            raw = stream.read(length)
    except OSError as error:
        raise unreadable(file, error) from error
    return _parse(file, raw, size - 8 - length)


def size_of(file: Path) -> int:
    """Return the size in bytes of a regular file.

    Raises:
        ZImageError: ``ZI-FILE-MISSING``, or ``ZI-FILE-UNREADABLE`` with the reason.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise unreadable(file, error) from error
    except ValueError as error:  # a name that the file system cannot have
        raise ZImageError("ZI-FILE-MISSING", path=file.name, folder=str(file.parent)) from error
    if not stat.S_ISREG(status.st_mode):
        found = Bilingual("这不是普通文件", "it is not a regular file")
        if stat.S_ISDIR(status.st_mode):
            found = Bilingual("这是一个文件夹", "it is a folder")
        raise ZImageError("ZI-FILE-UNREADABLE", path=file.name, found=found)
    return status.st_size


def unreadable(file: Path, error: OSError) -> ZImageError:
    """Return the error for a file that could not be opened or read.

    It is ``ZI-FILE-MISSING`` for a file that does not exist, else ``ZI-FILE-UNREADABLE`` with the
    reason of the system. The content of the file may be in order.
    """
    found = system.reason(error)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if not os.path.islink(file):
            return ZImageError("ZI-FILE-MISSING", path=file.name, folder=str(file.parent))
        found = Bilingual("符号链接指向的文件不存在", "it is a symbolic link to a missing file")
    return ZImageError("ZI-FILE-UNREADABLE", path=file.name, found=found)


def short(name: str) -> str:
    """Return a name from a file for a message: printable, at most 80 characters."""
    truncated = name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"
    return "".join(letter if letter.isprintable() else "?" for letter in truncated)


def _refuse_other_formats(file: Path, start: bytes) -> None:
    """Refuse a file whose first 9 bytes are those of a zip, a pickle or a GGUF file."""
    # The length of a safetensors header can have the same bytes. Its JSON starts at byte 8.
    if start[8:9] == b"{":
        return
    if start[:4] == _ZIP_START or start[:2] in _PICKLE_STARTS:
        raise ZImageError("ZI-FILE-PICKLE", path=file.name)
    if start[:4] == b"GGUF":
        raise _corrupt(file, "GGUF", "safetensors")


def _parse(file: Path, raw: bytes, data_bytes: int) -> Header:
    """Parse the header, and check it for consistency with the ``data_bytes`` that follow it."""
    try:
        entries = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120]
        found = Bilingual(f"文件头：{reason}", f"header: {reason}")
        raise _corrupt(file, found, Bilingual("UTF-8 编码的 JSON", "UTF-8 JSON")) from error
    if not isinstance(entries, dict):
        name = type(entries).__name__
        raise _corrupt(file, Bilingual(f"文件头：{name}", f"header: {name}"), JSON_OBJECT)
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _corrupt(file, "__metadata__", Bilingual("文本值", "text values"))
    tensors = {name: _tensor(file, name, entry) for name, entry in entries.items()}
    if not tensors:
        raise _corrupt(
            file, Bilingual("0 个张量", "0 tensors"), Bilingual("至少 1 个", "at least 1")
        )
    _check_ranges(file, tensors, data_bytes)
    return Header(file, tensors, metadata)


def _tensor(file: Path, name: str, entry: object) -> TensorInfo:
    name = short(name)
    if not isinstance(entry, dict):
        raise _corrupt(file, f"{name}: {entry!r:.60}", "dtype, shape, data_offsets")
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in ITEM_BITS:
        raise _corrupt(file, f"{name}: dtype {dtype!r:.40}", ", ".join(ITEM_BITS))
    if not _naturals(shape) or len(shape) > MAX_RANK:
        rank = Bilingual(f"最多 {MAX_RANK} 个非负整数", f"at most {MAX_RANK} integers >= 0")
        raise _corrupt(file, f"{name}: shape {shape!r:.60}", rank)
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _corrupt(file, f"{name}: data_offsets {offsets!r:.60}", "[begin, end]")
    bits = prod(shape) * ITEM_BITS[dtype]
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        kind = f"{dtype} {list(shape)}"
        expected = Bilingual(f"{bits // 8} 字节（{kind}）", f"{bits // 8} bytes ({kind})")
        raise _corrupt(file, _bytes(offsets[1] - offsets[0], f"{name}: ", f"{name}: "), expected)
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _check_ranges(file: Path, tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    """Check that the tensors cover the data block without gaps and overlaps."""
    ordered = sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end))
    for (left, a), (right, b) in pairwise(ordered):
        if a.end != b.start:
            names = f"{short(left)} .. {short(right)}"
            found = Bilingual(f"有空隙：{names}", f"gap: {names}")
            if a.end > b.start:
                found = Bilingual(f"有重叠：{names}", f"overlap: {names}")
            expected = Bilingual("张量依次相邻", "tensors one after the other")
            raise _corrupt(file, found, expected)
    first, end = ordered[0][1].start, ordered[-1][1].end
    if first != 0:
        raise _corrupt(file, Bilingual(f"首个张量始于 {first}", f"first tensor at {first}"), "0")
    if end != data_bytes:
        raise _corrupt(file, _data_bytes(data_bytes), _data_bytes(end))


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < _LIMIT for item in value
    )


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name occurs twice")
    return entries


def _bytes(count: int, chinese: str = "", english: str = "") -> Bilingual:
    """Return a number of bytes after a text."""
    return Bilingual(f"{chinese}{count} 字节", f"{english}{count} bytes")


def _data_bytes(count: int) -> Bilingual:
    return Bilingual(f"{count} 字节数据", f"{count} data bytes")


def _corrupt(file: Path, found: Bilingual | str, expected: Bilingual | str) -> ZImageError:
    return ZImageError("ZI-FILE-CORRUPT", path=file.name, found=found, expected=expected)

"""Read and check the header of a safetensors file before any other code opens the file.

Format: 8 bytes of header length (little-endian), that many bytes of JSON, then one block of tensor
data. Every value of the header is compared with the file, because a wrong header would otherwise
crash the process or give noise.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TypeGuard

from ..errors import ZImageError

PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"})
_ZIP_START = b"PK\x03\x04"  # torch.save writes a zip file with a pickle in it
_PICKLE_STARTS = frozenset({b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"})
MAX_HEADER_BYTES = 100_000_000
MAX_RANK = 8
_LIMIT = 2**63  # sizes and offsets are signed 64-bit integers in torch and in file systems
_NAME_LENGTH = 80
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
        ZImageError: ``ZI-FILE-MISSING``; ``ZI-FILE-PICKLE`` for anything that is, or is named
            like, a pickle; ``ZI-FILE-CORRUPT`` when header and file do not agree.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise ZImageError("ZI-FILE-MISSING", path=file.name, folder=str(file.parent))
        if file.suffix.lower() in PICKLE_SUFFIXES:
            raise ZImageError("ZI-FILE-PICKLE", path=file.name)
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(9)
            _refuse_other_formats(file, start)
            if len(start) < 8:
                raise _corrupt(file, f"{size} bytes", "at least 8 bytes")
            length = int.from_bytes(start[:8], "little")
            if length > MAX_HEADER_BYTES or length > size - 8:
                expected = f"<= {min(MAX_HEADER_BYTES, size - 8)} bytes"
                raise _corrupt(file, f"header length {length} bytes", expected)
            stream.seek(8)
            raw = stream.read(length)
    except OSError as error:
        raise _corrupt(file, f"{error.strerror or error}", "a readable file") from error
    return _check(file, raw, size - 8 - length)


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


def _check(file: Path, raw: bytes, data_bytes: int) -> Header:
    """Check the header for consistency, also with the ``data_bytes`` that follow it."""
    try:
        entries = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise _corrupt(file, f"header: {reason}", "UTF-8 JSON") from error
    if not isinstance(entries, dict):
        raise _corrupt(file, f"header: {type(entries).__name__}", "JSON object")
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _corrupt(file, "__metadata__", "text values")
    tensors = {name: _tensor(file, name, entry) for name, entry in entries.items()}
    if not tensors:
        raise _corrupt(file, "0 tensors", ">= 1")
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
        raise _corrupt(file, f"{name}: shape {shape!r:.60}", f"<= {MAX_RANK} integers >= 0")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _corrupt(file, f"{name}: data_offsets {offsets!r:.60}", "[begin, end]")
    bits = prod(shape) * ITEM_BITS[dtype]
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        found = f"{name}: {offsets[1] - offsets[0]} bytes"
        raise _corrupt(file, found, f"{bits // 8} bytes ({dtype} {list(shape)})")
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _check_ranges(file: Path, tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    """Check that the tensors cover the data block without gaps and overlaps."""
    ordered = sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end))
    for (left, a), (right, b) in pairwise(ordered):
        if a.end != b.start:
            fault = "overlap" if a.end > b.start else "gap"
            raise _corrupt(
                file, f"{fault}: {short(left)} .. {short(right)}", "tensors one after the other"
            )
    if ordered[0][1].start != 0:
        raise _corrupt(file, f"first tensor at {ordered[0][1].start}", "0")
    if ordered[-1][1].end != data_bytes:
        raise _corrupt(file, f"{data_bytes} data bytes", f"{ordered[-1][1].end} data bytes")


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < _LIMIT for item in value
    )


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name occurs twice")
    return entries


def _corrupt(file: Path, found: str, expected: str) -> ZImageError:
    return ZImageError("ZI-FILE-CORRUPT", path=file.name, found=found, expected=expected)

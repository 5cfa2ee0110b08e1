"""Weights on disk: a safetensors file or a folder of shards, with checked headers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from .safetensors_file import Header, TensorInfo, read_header, short, size_of, unreadable

StateDict = dict[str, torch.Tensor]

TORCH_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_CHECKED = Bilingual("检查时的文件", "the file that was checked")


@dataclass(frozen=True)
class Weights:
    """Checked headers of all files of a model; no weights are loaded yet."""

    name: str
    headers: tuple[Header, ...]

    @property
    def metadata(self) -> dict[str, str]:
        """Text metadata of all files."""
        return {key: value for header in self.headers for key, value in header.metadata.items()}

    def outline(self, read: str | None = None) -> StateDict:
        """Return every tensor by name on the meta device: shape and type without data.

        Args:
            read: suffix of names; small U8 tensors with it are returned with their data.

        Raises:
            ZImageError: as :meth:`load`.
        """
        outline = {
            name: torch.empty(
                info.shape, dtype=TORCH_DTYPES.get(info.dtype, torch.uint8), device="meta"
            )
            for header in self.headers
            for name, info in header.tensors.items()
        }
        for header in self.headers if read else ():
            outline |= _read(header, [n for n in header.tensors if _is_note(header, n, read)])
        return outline

    def load(self) -> StateDict:
        """Map every tensor into memory, by name.

        Raises:
            ZImageError: ``ZI-FILE-CORRUPT`` for a file that changed since its header was read, or
                with a type that torch does not have; ``ZI-FILE-MISSING`` for a removed file;
                ``ZI-FILE-UNREADABLE`` for one that the system does not read or map.
        """
        state: StateDict = {}
        for header in self.headers:
            state |= _read(header, header.tensors)
        return state


def _read(header: Header, names: Iterable[str]) -> StateDict:
    """Map tensors of a file into memory.

    Each tensor has its own storage, because copying a tensor can copy its whole storage.

    The safetensors library maps tensors in the same way, but its version 0.8.0 leaks two integers
    for each tensor: 15 KiB with each load of the small models.
    """
    requested = list(names)
    if not requested:
        return {}
    if read_header(header.path) != header:
        found = Bilingual("文件头已变", "another header")
        raise _corrupt(header.path.name, found, _CHECKED)
    mapped, size = _map(header.path)
    begin = size - max(info.end for info in header.tensors.values())
    state: StateDict = {}
    for name in requested:
        info = header.tensors[name]
        if info.dtype not in TORCH_DTYPES:
            found = f"{short(name)}: dtype {info.dtype}"
            raise _corrupt(header.path.name, found, ", ".join(TORCH_DTYPES))
        state[name] = _tensor(mapped[begin + info.start : begin + info.end], info)
    return state


def _map(file: Path) -> tuple[torch.UntypedStorage, int]:
    """Map a file into private memory; return it with its size in bytes."""
    size = size_of(file)
    try:
        return torch.UntypedStorage.from_file(str(file), False, size), size  # private
    except (OSError, RuntimeError) as error:
        text = str(error).splitlines()[0]
        number = re.search(r"[(](\d+)[)]$", text)  # torch ends its text with errno
        if number:
            reason = OSError(int(number[1]), os.strerror(int(number[1])))
            raise unreadable(file, reason) from error
        raise _corrupt(file.name, short(text), _CHECKED) from error


def _tensor(storage: torch.UntypedStorage, info: TensorInfo) -> torch.Tensor:
    dtype = TORCH_DTYPES[info.dtype]
    raw = torch.empty(0, dtype=torch.uint8).set_(storage)
    if raw.data_ptr() % dtype.itemsize:  # files of common libraries are aligned
        raw = raw.clone()
    return raw.view(dtype).reshape(info.shape)


def _is_note(header: Header, name: str, end: str | None) -> bool:
    info = header.tensors[name]
    return (
        end is not None
        and name.endswith(end)
        and info.dtype == "U8"
        and info.end - info.start < 4096
    )


def open_weights(path: str | os.PathLike[str]) -> Weights:
    """Read the headers of a file, or of all shards in a folder of the official layout.

    Raises:
        ZImageError: ``ZI-FILE-MISSING``, ``ZI-FILE-UNREADABLE``, ``ZI-FILE-PICKLE`` or
            ``ZI-FILE-CORRUPT``.
    """
    source = Path(path)
    if not os.path.isdir(source):  # unlike Path.is_dir, also without access to its folder
        return Weights(source.name, (read_header(source),))
    headers = tuple(read_header(file) for file in _shards(source))
    file_of: dict[str, str] = {}
    for header in headers:
        for name in header.tensors:
            if name in file_of:
                found = f"{short(name)}: {file_of[name]} + {header.path.name}"
                raise _corrupt(
                    source.name, found, Bilingual("每个张量只在一个文件里", "one file per tensor")
                )
            file_of[name] = header.path.name
    return Weights(f"{source.parent.name}/{source.name}", headers)


def _shards(folder: Path) -> list[Path]:
    """Return the files that an index lists; without an index, the file with the shortest name."""
    try:  # Path.glob hides that a folder cannot be read
        names = sorted(os.listdir(folder), key=lambda name: (len(name), name))
    except OSError as error:
        raise unreadable(folder, error) from error
    indexes = [name for name in names if name.endswith(".safetensors.index.json")]
    if indexes:
        return [folder / name for name in _shard_names(folder / indexes[0])]
    files = [name for name in names if name.endswith(".safetensors")]
    if files:
        return [folder / files[0]]
    if any(name.endswith(".bin") for name in names):
        raise ZImageError("ZI-FILE-PICKLE", path=f"{folder.name}/*.bin")
    raise ZImageError("ZI-FILE-MISSING", path="*.safetensors", folder=str(folder))


def _shard_names(index: Path) -> list[str]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = sorted(set(content["weight_map"].values()))
    except OSError as error:
        raise unreadable(index, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        found = f"{type(error).__name__}: {error}"[:120]
        raise _corrupt(index.name, found, "weight_map {tensor: file}") from error
    if not names or any(not isinstance(n, str) or n != Path(n).name for n in names):
        raise _corrupt(
            index.name,
            f"{names!r:.120}",
            Bilingual("不带文件夹的文件名", "file names without folders"),
        )
    return names


def _corrupt(path: str, found: Bilingual | str, expected: Bilingual | str) -> ZImageError:
    return ZImageError("ZI-FILE-CORRUPT", path=path, found=found, expected=expected)

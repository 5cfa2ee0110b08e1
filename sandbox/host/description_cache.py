"""Stored descriptions of packs that were imported before, so that ComfyUI starts without them.

They are in a folder that no sandbox can write. Their file names have a digest of everything that a
description depends on.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ..policy.policy import PackRule
from ..protocol import messages as m

log = logging.getLogger(__name__)

SUFFIXES = frozenset(
    {".py", ".pyd", ".so", ".toml", ".json", ".yaml", ".yml", ".txt", ".ini", ".cfg", ".csv"}
)
"""Files that may define nodes."""
LARGEST_BYTES = 2 * 2**20
"""Larger files, such as models, are known by size and modification time."""


class Descriptions:
    """The stored descriptions.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name: str, digest: str) -> m.PackInfo | None:
        """Return the description that is stored for this name and digest, or None."""
        try:
            return m.pack_info((self.folder / f"{name}.{digest}").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("Z-Image: the stored description of %s: %s", name, error)
            return None

    def save(self, name: str, digest: str, info: m.PackInfo) -> None:
        """Store a description and delete older ones; a disk that cannot be written is logged."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            target = self.folder / f"{name}.{digest}"
            fresh = target.with_suffix(".new")
            fresh.write_bytes(m.encode(info))
            for old in self.folder.iterdir():
                if old.stem == name and old != fresh:  # a digest has no dot
                    old.unlink()
            fresh.rename(target)
        except OSError as error:
            log.warning("Z-Image: the description of %s was not stored: %s", name, error)


def digest_of(path: str, rule: PackRule, ignore: Iterable[str], version: str) -> str:
    """Return a digest of all that a pack's description depends on: 32 hexadecimal digits.

    Args:
        path: the pack's folder or file.
        rule: a pack that may do less may describe itself differently.
        ignore: names of nodes that ComfyUI has itself.
        version: of ComfyUI.
    """
    digest = hashlib.sha256()
    grants = sorted(msgspec.structs.asdict(rule).items())
    digest.update(repr([sys.version, version, grants, sorted(ignore)]).encode())
    for folder in (*_own_folders(), *map(Path, _libraries())):
        digest.update(str(folder.stat().st_mtime_ns).encode())
    for file in _files(path):
        digest.update(file.encode("utf-8", "surrogateescape") + b"\0" + _content(file))
    return digest.hexdigest()[:32]


def _own_folders() -> list[Path]:
    """Return the folders of this project's code for sandboxes; an update changes their times."""
    sandbox = Path(__file__).parent.parent
    return [sandbox, *sorted(path.parent for path in sandbox.glob("*/__init__.py"))]


def _libraries() -> list[str]:
    return [path for path in sys.path if path.endswith("-packages") and os.path.isdir(path)]


def _files(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in {"__pycache__", ".git"})
        for name in sorted(files):
            if os.path.splitext(name)[1] in SUFFIXES:
                yield os.path.join(folder, name)


def _content(path: str) -> bytes:
    """Return bytes that stand for a file's content; special files are not opened."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return f"no file: {stat.S_IFMT(status.st_mode):o}".encode()
        if status.st_size > LARGEST_BYTES:
            return f"{status.st_size} {status.st_mtime_ns}".encode()
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return hashlib.sha256(file.read(LARGEST_BYTES + 1)).digest()
    except OSError as error:
        return str(error.errno).encode()


def state_of(paths: Iterable[str]) -> str:
    """Return a digest of sizes and modification times, which shows whether files have changed."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
            state = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
        except (OSError, ValueError) as error:
            state = type(error).__name__
        digest.update(f"{path}\0{state}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()

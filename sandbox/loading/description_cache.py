"""Descriptions of packs that were imported before: starting does not pay for them again.

They lie where no sandbox can write, named by a digest of everything that a description depends on.
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
"""Files that nodes may be made from."""
LARGEST_BYTES = 2 * 2**20
"""Of larger files size and time of change count: they are models."""


class Descriptions:
    """The stored ones.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, name: str, digest: str) -> m.PackInfo | None:
        """What is stored for exactly this, or None."""
        try:
            return m.pack_info((self.folder / f"{name}.{digest}").read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("Z-Image: the stored description of %s: %s", name, error)
            return None

    def save(self, name: str, digest: str, info: m.PackInfo) -> None:
        """Store it in the place of older ones; a disk that cannot be written is no failure."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            target = self.folder / f"{name}.{digest}"
            fresh = target.with_suffix(".new")
            fresh.write_bytes(m.encode(info))
            for old in self.folder.iterdir():
                if old.stem == name and old != fresh:  # of a digest, which has no dot
                    old.unlink()
            fresh.rename(target)
        except OSError as error:
            log.warning("Z-Image: the description of %s was not stored: %s", name, error)


def digest_of(path: str, rule: PackRule, ignore: Iterable[str], version: str) -> str:
    """Digest of all that the description of a pack depends on: 32 hexadecimal digits.

    Args:
        path: the pack's folder or file.
        rule: a pack that may do less may describe itself otherwise.
        ignore: names that ComfyUI has itself.
        version: of ComfyUI.
    """
    found = hashlib.sha256()
    about = [sys.version, version, sorted(msgspec.structs.asdict(rule).items()), sorted(ignore)]
    found.update(repr(about).encode())
    for folder in (*_own_folders(), *map(Path, _libraries())):
        found.update(str(folder.stat().st_mtime_ns).encode())
    for one in _files(path):
        found.update(one.encode("utf-8", "surrogateescape") + b"\0" + _content(one))
    return found.hexdigest()[:32]


def _own_folders() -> list[Path]:
    """Return the folders of this project's code for sandboxes; an update changes their times."""
    sandbox = Path(__file__).parent.parent
    return [sandbox, *sorted(path.parent for path in sandbox.glob("*/__init__.py"))]


def _libraries() -> list[str]:
    return [one for one in sys.path if one.endswith("-packages") and os.path.isdir(one)]


def _files(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(one for one in folders if one not in {"__pycache__", ".git"})
        for name in sorted(files):
            if os.path.splitext(name)[1] in SUFFIXES:
                yield os.path.join(folder, name)


def _content(path: str) -> bytes:
    """What stands for a file's content; what is no file, or does not end, is not read."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            return f"no file: {stat.S_IFMT(about.st_mode):o}".encode()
        if about.st_size > LARGEST_BYTES:
            return f"{about.st_size} {about.st_mtime_ns}".encode()
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return hashlib.sha256(file.read(LARGEST_BYTES + 1)).digest()
    except OSError as error:
        return str(error.errno).encode()


def state_of(paths: Iterable[str]) -> str:
    """A digest of sizes and times of change of files and folders, to see whether they changed."""
    found = hashlib.sha256()
    for path in paths:
        try:
            about = os.stat(path)
            said = f"{about.st_size} {about.st_mtime_ns} {about.st_ino}"
        except (OSError, ValueError) as error:
            said = type(error).__name__
        found.update(f"{path}\0{said}\0".encode("utf-8", "surrogateescape"))
    return found.hexdigest()

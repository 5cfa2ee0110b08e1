"""Installs uv by pip and the rest by uv, every file checked against the lock's hashes."""

from __future__ import annotations

import configparser
import errno
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from ..errors import system
from ..errors.bilingual import Bilingual
from .terminal import LACKING, Stop, say

NEEDED_GB = 7
"""Free space needed for a build; the environment itself takes 5.8 GB."""

NETWORK_WORDS = re.compile(
    r"dns error|resolve|connect|timed? ?out|unreachable|failed to fetch|error sending request"
    r"|offline|network|No matching distribution",
    re.IGNORECASE,
)


def pinned(name: str, lock: bytes) -> str:
    """Return the lock's entry for one package: its version and hashes, as a requirements text."""
    match = re.search(rf"^{re.escape(name)}==.*(?:\n[ ]+--hash.*)*", lock.decode(), re.MULTILINE)
    if match is None:
        raise KeyError(name)
    return match.group().rstrip("\\").rstrip() + "\n"


class Installer:
    """Builds environments from a lock file.

    Args:
        home: where uv itself is installed; must exist and be writable.
        lock: the requirements file with hashes.
        lock_fd: descriptor of the held lock, inherited by every installer process.
    """

    def __init__(self, home: Path, lock: Path, lock_fd: int) -> None:
        self.home = home
        self.lock = lock
        self.lock_fd = lock_fd

    def build(self, env: Path) -> None:
        """Create the virtual environment ``env`` with everything in the lock file.

        Raises:
            Stop: no network, no space, no venv module, or an installer that failed.
        """
        uv = self._uv()
        base = getattr(sys, "_base_executable", None) or sys.executable
        self._run([str(uv), "venv", "--quiet", "--no-project", "--python", base, str(env)])
        say(
            Bilingual(
                "安装依赖（torch、transformers 等）", "installing torch, transformers and others"
            )
        )
        # The lock is complete, so nothing is resolved: what is not in it is not installed.
        command = [str(uv), "pip", "install", "--no-deps", "--require-hashes"]
        self._run([*command, "--python", str(env / "bin" / "python"), "-r", str(self.lock)])

    def _uv(self) -> Path:
        """Return the path of uv; install it by pip into its own folder if needed."""
        text = pinned("uv", self.lock.read_bytes())
        folder = self.home / ("uv-" + text.split()[0].partition("==")[2])
        uv = folder / "bin" / "uv"
        if (folder / ".ready").exists() and uv.exists():
            return uv
        say(Bilingual("安装 uv", "installing uv"))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        requirements = folder / "uv.txt"
        requirements.write_text(text)
        command = [self._python_with_pip(folder), "-m", "pip", "install", "--quiet", "--no-input"]
        command += ["--retries", "2", "--no-deps", "--require-hashes", "-r", str(requirements)]
        self._run([*command, "--target", str(folder)])
        (folder / ".ready").touch()
        return uv

    def _python_with_pip(self, folder: Path) -> str:
        """Return this Python if it has pip, else one in a new virtual environment."""
        if find_spec("pip"):
            return sys.executable
        if find_spec("ensurepip") is None:
            raise Stop(LACKING, "ZI-ENV-VENV", found=platform.python_version())
        self._run([sys.executable, "-m", "venv", str(folder / "pip")])
        return str(folder / "pip" / "bin" / "python")

    def _run(self, command: list[str]) -> None:
        """Run an installer and print its messages; a failure raises :class:`Stop`."""
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                pass_fds=[self.lock_fd],
                text=True,
                errors="replace",
            )
        except OSError as error:  # a disk mounted noexec, say
            raise Stop(LACKING, "ZI-ENV-INSTALL", found=error) from error
        lines: list[str] = []
        with process:
            for line in process.stdout or ():
                lines.append(line)
                if not line.startswith(" + "):  # uv's list of what it installed
                    sys.stderr.write("  " + line)
                    sys.stderr.flush()
        if process.returncode:
            raise self._reason("".join(lines))

    def _reason(self, output: str) -> Stop:
        if "No space left" in output or "Disk quota" in output or "os error 28" in output:
            return no_space(self.home)
        if re.search(
            r"hash mismatch|hashes are required|not match the hash", output, re.IGNORECASE
        ):
            return Stop(LACKING, "ZI-ENV-HASH")
        if NETWORK_WORDS.search(output):
            return Stop(LACKING, "ZI-ENV-NETWORK")
        last = output.strip().splitlines()[-1] if output.strip() else "?"
        return Stop(LACKING, "ZI-ENV-INSTALL", found=last.strip())

    def _environment(self) -> dict[str, str]:
        """Return this process's environment, with pip's index and certificates for uv."""
        env = dict(os.environ)
        for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
            env.pop(name, None)
        env["PIP_USER"] = "0"  # pip refuses --user together with --target
        env["PIP_ROOT_USER_ACTION"] = "ignore"  # the system's packages stay as they are
        env.setdefault("UV_HTTP_TIMEOUT", "120")
        env["UV_PYTHON_DOWNLOADS"] = "never"
        if not self._shares_disk(Path(env.get("XDG_CACHE_HOME") or f"{env.get('HOME')}/.cache")):
            env.setdefault("UV_CACHE_DIR", str(self.home / "uv-cache"))
        env["UV_NO_PROGRESS"] = "1"  # lines per package instead of bars: they survive a pipe
        pip = pip_settings(env)
        if "index-url" in pip and not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & env.keys():
            env["UV_DEFAULT_INDEX"] = pip["index-url"]
        if "cert" in pip:
            env.setdefault("SSL_CERT_FILE", pip["cert"])
        if "proxy" in pip:
            env.setdefault("ALL_PROXY", pip["proxy"])
        return env

    def _shares_disk(self, cache: Path) -> bool:
        """Return whether uv can link from a cache there instead of copying 6 GB."""
        while not cache.exists() and cache != cache.parent:
            cache = cache.parent
        return os.access(cache, os.W_OK) and cache.stat().st_dev == self.home.stat().st_dev


def no_space(folder: Path) -> Stop:
    """Return ``ZI-ENV-SPACE`` for the disk of ``folder``."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = f"{shutil.disk_usage(existing).free / 1e9:.1f}"
    return Stop(LACKING, "ZI-ENV-SPACE", path=folder, found=free, expected=NEEDED_GB)


def obstacle(home: Path, error: OSError) -> Stop:
    """Return the error for a failed write into ``home``: a full disk, or another reason."""
    if re.search(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT})\]", str(error)):
        return no_space(home)
    reason: object = system.reason(error)
    if isinstance(error, shutil.Error):  # copytree's list of (source, target, reason)
        reason = error.args[0][0][-1]
    return Stop(LACKING, "ZI-ENV-HOME", path=home, found=reason)


def pip_settings(env: dict[str, str]) -> dict[str, str]:
    """Return ``index-url``, ``cert`` and ``proxy`` from pip's configuration and variables.

    uv does not read them, but many users configure a mirror of the package index only there.
    """
    home = env.get("HOME", "/")
    config = env.get("XDG_CONFIG_HOME") or f"{home}/.config"
    files = ["/etc/pip.conf", f"{home}/.pip/pip.conf", f"{config}/pip/pip.conf"]
    parser = configparser.RawConfigParser()
    for path in [*files, env.get("PIP_CONFIG_FILE", "")]:
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip itself will complain about a broken file
    settings: dict[str, str] = {}
    for name in ("index-url", "cert", "proxy"):
        for section in ("global", "install"):
            if parser.has_option(section, name):
                settings[name] = parser.get(section, name).strip()
        if env.get("PIP_" + name.upper().replace("-", "_")):
            settings[name] = env["PIP_" + name.upper().replace("-", "_")]
    return settings

"""A real ComfyUI with the pack on a free loopback port."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ..errors import system
from ..errors.bilingual import Bilingual
from .bootstrap import LINK_NAME
from .client import Client
from .host import Host
from .terminal import FAILED, LACKING, Stop, say

POLL_SECONDS = 0.1


PORTS = range(20_000, 32_768)
"""Ports for servers. Linux gives those above to connections, from 32768
(``ip_local_port_range``), so that another process could get a port before its server opens it."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free now; raise ``OSError`` without one."""
    problem = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    for port in secrets.SystemRandom().sample(PORTS, 100):
        try:
            with socket.create_server((host, port)):
                return port
        except OSError as error:
            problem = error
    raise problem


class Server:
    """A ComfyUI process with folders of its own (output, temp, input, user) and its log in a file.

    Use it as a context manager: entering starts it and waits until it responds, leaving stops it.

    Args:
        host: which ComfyUI.
        pack: the pack's folder; loaded even when it is not in the host's ``custom_nodes``.
        folder: where its folders and log go; default: a temporary one, removed at the end.
        arguments: further ComfyUI arguments.
        timeout: seconds to wait for the first response (a cold disk can take a minute).
        env: the process's environment variables (default: this process's).
        log: the file for what ComfyUI writes (default: ``comfyui.log`` in ``folder``).
    """

    def __init__(
        self,
        host: Host,
        pack: Path,
        folder: Path | None = None,
        arguments: tuple[str, ...] = (),
        timeout: float = 300,
        env: dict[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.host = host
        self.pack = pack
        self.keep = folder is not None
        self.folder = folder or _temporary_folder()
        self.log = log or self.folder / "comfyui.log"
        self.arguments = arguments
        self.timeout = timeout
        self.env = env
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.seconds_to_start = 0.0

    @property
    def url(self) -> str:
        """Base address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Client:
        """A new client of this server."""
        return Client(self.url)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        failed = isinstance(error, Stop) and error.code == "ZI-RUN-FAILED"
        if failed:
            say(Bilingual(f"ComfyUI 的日志：{self.log}", f"ComfyUI's log: {self.log}"))
        self._tidy(keep_log=failed)

    def _tidy(self, keep_log: bool) -> None:
        """Remove the temporary folder, all but the log if a message has named it."""
        if self.keep:
            return
        if not keep_log or self.log.parent != self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)

    def start(self) -> None:
        """Start the process and wait until it responds.

        Raises:
            Stop: ``ZI-HOST-START`` if it exits or does not respond, and the log is kept;
                ``ZI-OUTPUT`` if its folders or its log cannot be written.
        """
        start = time.monotonic()
        self.port = free_port()
        try:
            self._launch()
            self._await_answer(start + self.timeout)
        except BaseException as error:
            self.stop()
            self._tidy(keep_log=isinstance(error, Stop) and error.code == "ZI-HOST-START")
            raise
        self.seconds_to_start = time.monotonic() - start

    def _launch(self) -> None:
        """Create the folders and start the process, which writes into the log."""
        try:
            command = start_command(self.host, self.pack, self.folder, self.port, self.arguments)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            log = self.log.open("ab")
        except OSError as error:
            raise _unwritable(error.filename or self.folder, error) from error
        with log:
            try:
                self.process = subprocess.Popen(
                    command,
                    cwd=self.host.path,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches us first; we stop it in order
                    preexec_fn=_end_with_parent(),
                    env=host_environment(self.env),
                )
            except OSError as error:  # for example, a missing interpreter
                raise Stop(LACKING, "ZI-HOST-START", found=error, path=self.log) from error

    def _await_answer(self, deadline: float) -> None:
        assert self.process is not None  # noqa: S101 - start() has just set it
        while not self.client.answers():
            if self.process.poll() is not None:
                raise Stop(FAILED, "ZI-HOST-START", found=self.last_words(), path=self.log)
            if time.monotonic() > deadline:
                seconds = f"{self.timeout:.0f}"
                found = Bilingual(f"{seconds} 秒内无响应", f"no response within {seconds} s")
                raise Stop(FAILED, "ZI-HOST-START", found=found, path=self.log)
            time.sleep(POLL_SECONDS)

    def last_words(self) -> str:
        """Return the last line of the log that is not empty."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "?"

    def stop(self, grace: float = 10) -> None:
        """End the process and its children: SIGTERM, then SIGKILL after ``grace`` seconds."""
        if self.process is None:
            return
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10)):
            if self.process.poll() is not None:
                break
            os.killpg(self.process.pid, number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="zimage-"))
    except OSError as error:
        raise _unwritable("$TMPDIR", error) from error


def _unwritable(path: object, error: OSError) -> Stop:
    return Stop(LACKING, "ZI-OUTPUT", path=path, found=system.reason(error))


def _end_with_parent() -> Callable[[], object] | None:
    """Return a function for a child to call first, so that it ends with this process (Linux)."""
    if sys.platform != "linux":
        return None
    prctl, pr_set_pdeathsig, parent = ctypes.CDLL(None).prctl, 1, os.getpid()

    def arm() -> None:
        prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed before the line above
            os._exit(1)

    return arm


def main_command(host: Host, pack: Path) -> list[str]:
    """Return the command that runs our prestartup script before those of other packs."""
    first = pack / "sandbox" / "loading" / "launch_first.py"
    return [str(host.python), str(first), str(host.path / "main.py")]


def start_command(
    host: Host, pack: Path, folder: Path, port: int, arguments: tuple[str, ...] = ()
) -> list[str]:
    """Return the command that starts ``host``, which writes only under ``folder``."""
    for name in ("output", "temp", "input", "user"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    command = [*main_command(host, pack), "--port", str(port)]
    command += ["--listen", "127.0.0.1", "--disable-auto-launch"]
    for name in ("output", "temp", "input", "user"):
        command += [f"--{name}-directory", str(folder / name)]
    command += ["--database-url", f"sqlite:///{folder / 'user' / 'comfyui.db'}"]
    return [*command, *pack_arguments(host, pack, folder), *host.device_arguments(), *arguments]


def pack_arguments(host: Host, pack: Path, folder: Path) -> list[str]:
    """Return arguments to load the pack without a change in the host's ``custom_nodes``."""
    if host.has_pack(pack):
        return []
    extra = folder / "packs"
    config = folder / "packs.yaml"
    extra.mkdir(parents=True, exist_ok=True)
    link = extra / LINK_NAME
    if not link.is_symlink():
        link.symlink_to(pack, target_is_directory=True)
    write_paths(config, {"custom_nodes": str(extra)})
    return ["--extra-model-paths-config", str(config)]


def write_paths(config: Path, entries: dict[str, object]) -> None:
    """Write an extra model paths file for ComfyUI: folders by kind, and its own settings."""
    # JSON is YAML, so quotes and colons are safe. YAML has no surrogate pairs (😀, 𠮷), so only
    # bytes that are not UTF-8 (old file names) are escaped.
    text = json.dumps({"zimage": entries}, ensure_ascii=False)
    config.write_text(text, encoding="utf-8", errors="backslashreplace")


def host_environment(env: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a ComfyUI process: no Python paths, no calls to model hubs."""
    env = dict(os.environ if env is None else env)
    env["PYTHONUNBUFFERED"] = "1"
    env.setdefault("HF_HUB_OFFLINE", "1")
    # OpenMP threads spin while they wait, which takes cores from threads that have work. Beside
    # four servers on two cores an edit took 5 to 43 s, with this setting 1.3 s; on an idle machine
    # 0.55 s instead of 0.5 s. Without spinning it would take 0.7 s there.
    if not env.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        env["GOMP_SPINCOUNT"] = "1000"
    # Without .pyc files, every start compiles torch and transformers again: half of its time.
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"):
        env.pop(name, None)
    return env


def require_free(address: str, port: int) -> None:
    """Check that a server can listen there.

    Raises:
        Stop: ``ZI-PORT-USED`` or ``ZI-ADDRESS``.
    """
    try:
        infos = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, where = infos[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Stop(LACKING, "ZI-PORT-USED", found=port) from error
        raise Stop(LACKING, "ZI-ADDRESS", found=address, reason=system.reason(error)) from error

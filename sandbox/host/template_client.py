"""The host's end of a template process, which forks workers and reports how they end."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from ...errors import ZImageError, system
from ...errors.bilingual import Bilingual
from ..protocol.template_control import REPLY, REQUEST

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent.parent / "worker" / "main.py"
START_SECONDS = 300.0
"""A cold disk can take a minute to import torch."""
SPAWN_SECONDS = 20.0
CREDENTIALS = struct.Struct("3i")
"""Process, user and group."""
CREDENTIALS_BYTES = socket.CMSG_SPACE(CREDENTIALS.size)


class TemplateClient:
    """A template process and the workers that it has forked.

    Args:
        comfyui: folder of the host's code.
        arguments: of ComfyUI's command line, as workers see it.
        environment: variables of the template and, unless replaced, of its workers.
        output: descriptor for its standard output.
        command_prefix: command that runs the template's command line, such as bubblewrap.

    Attributes:
        ready: whether it has imported ComfyUI.
        ended: whether it has ended.
        start_seconds: how long the import took.
    """

    def __init__(
        self,
        comfyui: str,
        arguments: list[str],
        environment: Mapping[str, str],
        output: int,
        command_prefix: Sequence[str] = (),
    ) -> None:
        self._control, template_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.command_prefix = list(command_prefix)
        self._token = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._pids: dict[int, int] = {}
        self._alive: dict[int, int] = {}
        self._statuses: dict[int, int] = {}
        self._listeners: dict[int, Callable[[int], None]] = {}
        self.ready = False
        self.ended = False
        self.start_seconds = 0.0
        self._began = time.monotonic()
        fd = template_end.fileno()
        command = [sys.executable, "-I", str(TEMPLATE), str(fd), comfyui, *arguments]
        start = functools.partial(
            subprocess.Popen[bytes],
            [*command_prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            pass_fds=(fd,),
            start_new_session=True,
        )
        with template_end:
            self.process = self._start(start)

    def _start(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start the process in the thread that listens to it.

        Raises:
            ZImageError: ``ZI-SANDBOX-START``.
        """
        started: Future[subprocess.Popen[bytes]] = Future()
        threading.Thread(
            target=self._run, args=(start, started), name="zimage-template", daemon=True
        ).start()
        try:
            return started.result()
        except OSError as error:
            self._control.close()
            raise ZImageError("ZI-SANDBOX-START", found=system.reason(error)) from error

    def _run(
        self,
        start: Callable[[], subprocess.Popen[bytes]],
        started: Future[subprocess.Popen[bytes]],
    ) -> None:
        """Start the process and listen to it until it ends.

        One thread does both: the kernel kills the process (``PR_SET_PDEATHSIG``) when the thread
        that has started it ends.
        """
        try:
            process = start()
            started.set_result(process)
        except BaseException as error:  # noqa: BLE001  passed on to the thread that waits
            started.set_exception(error)
        else:
            self._listen()
            process.wait()  # or it stays as a zombie

    def _listen(self) -> None:
        while True:
            try:
                data, ancillary, _, _ = self._control.recvmsg(REPLY.size, CREDENTIALS_BYTES)
            except OSError:
                data, ancillary = b"", []
            if len(data) != REPLY.size:
                break
            kind, token, status = REPLY.unpack(data)
            self._note(kind, token, status, ancillary)
            if kind == b"e" and (listener := self._listeners.pop(token, None)) is not None:
                listener(status)
        self._kill_groups()
        with self._changed:
            self.ended = True
            self._changed.notify_all()
        for listener in list(self._listeners.values()):
            listener(signal.SIGKILL)  # the workers have ended with the template

    def _note(
        self, kind: bytes, token: int, status: int, ancillary: list[tuple[int, int, bytes]]
    ) -> None:
        """Store what a reply says."""
        with self._changed:
            if kind == b"r":
                self.ready = True
                self.start_seconds = time.monotonic() - self._began
            elif kind == b"s":
                self._pids[token] = self._alive[token] = _sender(ancillary)
            else:
                self._statuses[token] = status
                self._alive.pop(token, None)
            self._changed.notify_all()

    def _kill_groups(self) -> None:
        """Kill the process groups of the workers.

        A template that was killed cannot end what its workers have started. Where system calls are
        filtered, those processes cannot leave the group of their worker.
        """
        for pid in filter(None, self._alive.values()):  # 0 would be the host's own group
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        self._alive.clear()

    def spawn(self, fds: tuple[int, int, int], on_exit: Callable[[int], None]) -> tuple[int, int]:
        """Fork a worker.

        Args:
            fds: its descriptors for frames, for descriptors, and for standard output.
            on_exit: called with the status of ``waitpid`` when it has ended, in another thread.

        Returns:
            Its token and its process id.

        Raises:
            ZImageError: ``ZI-SANDBOX-START``.
        """
        with self._lock:
            self._token += 1
            token = self._token
        self._wait_for(lambda: self.ready, START_SECONDS)
        self._listeners[token] = on_exit
        try:
            socket.send_fds(self._control, [REQUEST.pack(token)], list(fds))
        except OSError as error:
            raise ZImageError("ZI-SANDBOX-START", found=system.reason(error)) from error
        self._wait_for(lambda: token in self._pids or token in self._statuses, SPAWN_SECONDS)
        if not (pid := self._pids.pop(token, 0)):
            reason = Bilingual("立即结束了", "ended at once")
            raise ZImageError("ZI-SANDBOX-START", found=reason)
        return token, pid

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a reply.

        Raises:
            ZImageError: ``ZI-SANDBOX-START``.
        """
        with self._changed:
            in_time = self._changed.wait_for(lambda: condition() or self.ended, seconds)
            if in_time and not self.ended:
                return
            reason = Bilingual(f"{seconds:g} 秒内没有完成", f"not in {seconds:g} s")
            if self.ended:
                reason = Bilingual("模板进程已结束", "the template has ended")
            raise ZImageError("ZI-SANDBOX-START", found=reason)

    def wait_status(self, token: int, seconds: float) -> int | None:
        """Return the status of ``waitpid`` of a worker, None if it does not end in that time."""
        with self._changed:
            self._changed.wait_for(lambda: token in self._statuses or self.ended, seconds)
            return self._statuses.get(token)

    def close(self) -> None:
        """End the template and all its workers."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2)
            return
        self.process.kill()
        self.process.wait()


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the sender's process id in this process's namespace."""
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(CREDENTIALS.unpack(content[: CREDENTIALS.size])[0])
    return 0


def describe_status(status: int) -> str:
    """Return how a process ended, such as ``SIGSEGV`` or ``exit 3``."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"
    return f"exit {os.waitstatus_to_exitcode(status)}"

"""The host's end of a template process: asks it for workers, hears how they end."""

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

from ...errors import Said, ZImageError
from ..protocol.template_control import REPLY, REQUEST

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent.parent / "worker" / "template.py"
START_SECONDS = 300.0
"""A cold disk can take a minute to import torch."""
SPAWN_SECONDS = 20.0
CREDENTIALS = struct.Struct("3i")
"""Process, user and group."""
CREDENTIALS_BYTES = socket.CMSG_SPACE(CREDENTIALS.size)


class Parent:
    """A template process and the workers it has made.

    Args:
        comfyui: folder of the host's code.
        arguments: for its command line, as a worker shall see it.
        environment: variables of the template and, unless replaced, of its workers.
        output: descriptor for what it prints.
        inside: what to put before its command line.
    """

    def __init__(
        self,
        comfyui: str,
        arguments: list[str],
        environment: Mapping[str, str],
        output: int,
        inside: Sequence[str] = (),
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._control = ours
        self.inside = list(inside)
        self._token = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._pids: dict[int, int] = {}
        self._alive: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._listeners: dict[int, Callable[[int], None]] = {}
        self.ready = False
        self.gone = False
        self.began = time.monotonic()
        self.seconds = 0.0
        command = [sys.executable, "-I", str(TEMPLATE), str(theirs.fileno()), comfyui, *arguments]
        start = functools.partial(
            subprocess.Popen[bytes],
            [*inside, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        started: Future[subprocess.Popen[bytes]] = Future()
        threading.Thread(
            target=self._live, args=(start, started), name="zimage-template", daemon=True
        ).start()
        with theirs:
            try:
                self.process = started.result()
            except OSError as error:
                ours.close()
                raise ZImageError("ZI-SANDBOX-START", found=error) from error

    def _live(
        self,
        start: Callable[[], subprocess.Popen[bytes]],
        started: Future[subprocess.Popen[bytes]],
    ) -> None:
        """Start it and listen, in one thread: the kernel ends it with the thread that made it."""
        try:
            process = start()
            started.set_result(process)
        except BaseException as error:  # noqa: BLE001  for whoever waits
            started.set_exception(error)
        else:
            self._listen()
            process.wait()  # or it stays as a zombie

    def _listen(self) -> None:
        while True:
            try:
                data, about, _, _ = self._control.recvmsg(REPLY.size, CREDENTIALS_BYTES)
            except OSError:
                data, about = b"", []
            if len(data) != REPLY.size:
                break
            kind, token, status = REPLY.unpack(data)
            with self._changed:
                if kind == b"r":
                    self.ready, self.seconds = True, time.monotonic() - self.began
                elif kind == b"s":
                    self._pids[token] = self._alive[token] = _sender(about)
                else:
                    self._ends[token] = status
                    self._alive.pop(token, None)
                self._changed.notify_all()
            if kind == b"e" and (listener := self._listeners.pop(token, None)) is not None:
                listener(status)
        self._end_groups()
        with self._changed:
            self.gone = True
            self._changed.notify_all()
        for listener in list(self._listeners.values()):
            listener(9)  # they died with it

    def _end_groups(self) -> None:
        """A template that was killed leaves what its workers have started; they cannot leave their
        worker's group, where system calls are filtered."""
        for pid in filter(None, self._alive.values()):  # 0 would be this one's own group
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        self._alive.clear()

    def spawn(self, fds: tuple[int, int, int], ended: Callable[[int], None]) -> tuple[int, int]:
        """A new worker with these descriptors; its token and process.

        Args:
            fds: for frames, for descriptors, for what it prints.
            ended: called with the status of ``wait`` once it is over, in another thread.

        Raises:
            ZImageError: ``ZI-SANDBOX-START``.
        """
        with self._lock:
            self._token += 1
            token = self._token
        self._await(lambda: self.ready, START_SECONDS)
        self._listeners[token] = ended
        try:
            socket.send_fds(self._control, [REQUEST.pack(token)], list(fds))
        except OSError as error:
            raise ZImageError("ZI-SANDBOX-START", found=error) from error
        self._await(lambda: token in self._pids or token in self._ends, SPAWN_SECONDS)
        if not (pid := self._pids.pop(token, 0)):
            found = Said("ended at once", "立即结束了")
            raise ZImageError("ZI-SANDBOX-START", found=found)
        return token, pid

    def _await(self, what: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: what() or self.gone, seconds) or self.gone:
                found = Said(f"not in {seconds:g} s", f"{seconds:g} 秒内没有完成")
                if self.gone:
                    found = Said("the template has ended", "模板进程已结束")
                raise ZImageError("ZI-SANDBOX-START", found=found)

    def end_of(self, token: int, seconds: float) -> int | None:
        """Status of ``wait`` of a worker, if it ends within that time."""
        with self._changed:
            self._changed.wait_for(lambda: token in self._ends or self.gone, seconds)
            return self._ends.get(token)

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


def _sender(about: list[tuple[int, int, bytes]]) -> int:
    """The process that a message is from, as this one's namespace calls it."""
    for level, kind, data in about:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(CREDENTIALS.unpack(data[: CREDENTIALS.size])[0])
    return 0


def words(status: int) -> str:
    """How a process ended, in the words of a shell: ``SIGSEGV`` or ``exit 3``."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return signal.Signals(number).name
        except ValueError:
            return f"signal {number}"
    return f"exit {os.waitstatus_to_exitcode(status)}"

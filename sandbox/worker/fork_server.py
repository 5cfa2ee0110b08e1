"""The loop of a template process: forks a worker for each request and reaps what ends."""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import signal
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ..protocol.template_control import REPLY, REQUEST

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
MAX_GENERATIONS = 10_000
"""Of orphans: each appears when its parent has ended."""


class ForkServer:
    """Waits for the host, its requests, and the end of each worker.

    Args:
        control: socket to the host.
        libc: the C library, for ``prctl``.
        host: a pidfd of the host.
        start: runs a worker in the new process, from the descriptors of its two sockets.
    """

    def __init__(
        self, control: socket.socket, libc: Any, host: int, start: Callable[[int, int], None]
    ) -> None:
        self.control = control
        self.libc = libc
        self.host = host
        self.start = start
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ, self._request)
        self.selector.register(host, selectors.EVENT_READ, self._finish)
        self.workers: dict[int, tuple[int, int]] = {}
        """Token and pidfd of each worker, by process id."""

    def run(self) -> None:
        """Serve until the host hangs up or ends, or this process fails; then end all workers."""
        try:
            while True:
                for key, _ in self.selector.select():
                    key.data()
        except BaseException:  # noqa: BLE001  for example a reply after the host has hung up
            traceback.print_exc()
        finally:
            self._finish()

    def _request(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self.control, REQUEST.size, 3)
        except OSError:
            data, fds = b"", []
        if len(data) != REQUEST.size or len(fds) != 3:
            self._finish()
        (token,) = REQUEST.unpack(data)
        pid = os.fork()
        if not pid:
            self._become_worker(token, fds)
        for fd in fds:
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self.workers[pid] = (token, pidfd)
        self.selector.register(pidfd, selectors.EVENT_READ, functools.partial(self._ended, pid))

    def _finish(self) -> NoReturn:
        """Kill and reap all descendants, then exit."""
        for pid in self.workers:
            _kill(pid)
        self.workers.clear()
        self._reap_orphans()
        os._exit(0)

    def _become_worker(self, token: int, fds: list[int]) -> NoReturn:
        """Close what belongs to the template, then run the worker in this new process."""
        code = 1
        try:
            self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # its orphans are its children
            os.setsid()
            self.selector.close()
            self.control.send(REPLY.pack(b"s", token, 0))
            self.control.close()
            os.close(self.host)
            for _, pidfd in self.workers.values():
                os.close(pidfd)
            os.dup2(fds[2], 1)
            os.dup2(fds[2], 2)
            os.close(fds[2])
            self.start(fds[0], fds[1])
            code = 0
        except BaseException:  # noqa: BLE001  a copy of the template must not continue
            traceback.print_exc()
        finally:
            os._exit(code)

    def _ended(self, pid: int) -> None:
        token, pidfd = self.workers.pop(pid)
        self.selector.unregister(pidfd)
        os.close(pidfd)
        _kill(pid)  # its group: the group's number is free again once the worker is reaped
        _, status = os.waitpid(pid, 0)
        self._reap_orphans()
        self.control.send(REPLY.pack(b"e", token, status))

    def _reap_orphans(self) -> None:
        """Kill and reap the children of workers that have ended, and their children."""
        for _ in range(MAX_GENERATIONS):
            orphans = [pid for pid in _children() if pid not in self.workers]
            if not orphans:
                return
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


def _kill(worker: int) -> None:
    """Kill a worker and its process group, so that a fork bomb in the group cannot outrun it."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(worker, signal.SIGKILL)


def _children() -> list[int]:
    own = os.getpid()
    try:
        text = Path(f"/proc/{own}/task/{own}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]

"""The process of a server, started by this guardian or adopted from an earlier one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from ..config import NEW, SERVER
from ..errors.bilingual import Bilingual
from .messages import exit_status


class ServerProcess:
    """A process and what it has started, by a descriptor that no other process can inherit.

    Attributes:
        pid: the process id, which is also the id of its process group.
    """

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        """Refer to a process that runs.

        Args:
            pid: its id.
            child: the same process, if this one started it.

        Raises:
            OSError: there is no such process.
        """
        self.pid = pid
        self.child = child
        self._pidfd = os.pidfd_open(pid)

    @classmethod
    def start(cls, command: Sequence[str], folder: Path, env: dict[str, str]) -> ServerProcess:
        """Start a server in a session of its own, so that it survives the guardian.

        Args:
            command: its command line.
            folder: its working directory.
            env: its environment.

        Raises:
            OSError: the system cannot start it.
        """
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**env, SERVER: NEW},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        return cls(child.pid, child)

    def fileno(self) -> int:
        """Return a descriptor that is readable once the process has ended."""
        return self._pidfd

    def send_signal(self, number: int) -> None:
        """Send a signal; SIGKILL goes to the whole process group.

        Args:
            number: the signal.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self._pidfd, number)
        if number == signal.SIGKILL:
            self.kill_group()

    def kill_group(self) -> None:
        """Kill what the server started and left in its process group.

        A forked child keeps the server's locks, and the next server would wait for the lock of the
        queue. A child with a session of its own goes on. Call this before :meth:`exit_status`,
        which frees the process id.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            try:
                signal.pidfd_send_signal(self._pidfd, 0)
            except ProcessLookupError:  # an adopted server, which another process has reaped
                if psutil.pid_exists(self.pid):  # the id belongs to a new process
                    return
            os.killpg(self.pid, signal.SIGKILL)

    def exit_status(self) -> Bilingual:
        """Wait for the end of the process and return how it ended; not known for an adopted one."""
        return exit_status(self.child.wait() if self.child else None)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._pidfd)

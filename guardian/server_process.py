"""A server process, started by this guardian or found running."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from ..config import NEW, SERVER
from .channel import Peer
from .limits import Limits
from .messages import Text, reason
from .restart_policy import Growth, Mode

MOST_NOTES = 2**16
"""Characters of notes that are read."""
WORKERLESS = 3.0
"""Seconds without a worker that are no moment between two workers any more."""


class Child:
    """One server.

    Attributes:
        state: ``starting``, ``ready`` (waits to be told to go), ``active`` or ``ending``.
        since: monotonic time of the last change of state.
        beat: its last message, empty before the first.
        heard: when that came.
        notes: file in which it keeps the ids of the prompts that it runs, "" for none.
        blames: ``kill`` or ``sick``, when it has asked to be ended at once.
        idled: since when its beats say that its worker has ended, None while they do not.
        deadline: when it has to be gone, in the state ``ending`` or once doomed.
        why: the reason for its end, known before it comes.
        served_since: when it was told to go, None for one that waits or has not been ready.
        number: counts servers; its temporary folder has it.
    """

    def __init__(self, pid: int, number: int, limits: Limits, clock: Callable[[], float]) -> None:
        self.pid, self.number, self.clock = pid, number, clock
        self.pidfd = os.pidfd_open(pid)
        self.process: subprocess.Popen[bytes] | None = None
        self.peer: Peer | None = None
        self.heard_of = False
        self.state, self.since, self.heard = "starting", clock(), clock()
        self.beat: dict[str, Any] = {}
        self.notes = self.blames = ""
        self.idled: float | None = None
        self.growth = Growth(limits)
        self.deadline = self.born = clock()
        self.why: Text | str = ""
        self.doomed = False
        self.mode = Mode.NORMAL
        self.served_since: float | None = None

    @classmethod
    def start(
        cls, command: Sequence[str], folder: Path, env: dict[str, str], number: int, limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> Child:  # fmt: skip
        """Start one; its own session, so that what ends this guardian does not end it."""
        process = subprocess.Popen(
            command, cwd=folder, env={**env, SERVER: NEW}, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        child = cls(process.pid, number, limits, clock)
        child.process = process
        return child

    def fileno(self) -> int:
        """For selectors: readable when the process has ended."""
        return self.pidfd

    def become(self, state: str) -> None:
        """Change the state."""
        self.state, self.since, self.heard = state, self.clock(), self.clock()
        if state == "active":
            self.served_since = self.since

    def hang(self, limits: Limits) -> Text | None:
        """Why it counts as hanging, if it does."""
        now = self.clock()
        if self.state == "starting" and now - self.since > limits.start:
            return reason("unready", limits.start)
        if self.state in {"starting", "ending"}:
            return None
        silent = now - self.heard
        if silent > limits.silence:
            return reason("silent", silent)
        if self.state == "active" and self.beat.get("loop", 0) > limits.silence:
            return reason("blocked", self.beat["loop"])
        if self.idled is not None and now - self.idled > WORKERLESS:
            return reason("worker", now - self.idled)
        return None

    def end(self, number: int) -> None:
        """A signal to it; SIGKILL goes to everything it has started, too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self.pidfd, number)
        if number == signal.SIGKILL:
            self.sweep()

    def sweep(self) -> None:
        """Kill what it has started and left in its process group; to be called before
        :meth:`verdict`. A forked child has its locks, the queue's among them, and the next server
        waits for these. What has a session of its own goes on.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            try:
                signal.pidfd_send_signal(self.pidfd, 0)
            except ProcessLookupError:  # not this guardian's child, and others have reaped it
                if psutil.pid_exists(self.pid):  # the number is another's by now
                    return
            os.killpg(self.pid, signal.SIGKILL)

    def verdict(self) -> str:
        """How it ended: ``exit 1``, ``SIGKILL``, or ``gone`` for one that was found running."""
        code = self.process.wait() if self.process else None
        if code is None:
            return "gone"
        return f"exit {code}" if code >= 0 else signal.Signals(-code).name

    def prompts(self) -> list[str]:
        """Ids of the prompts that were running when it ended, until another server serves."""
        try:
            with open(self.notes, encoding="utf-8") as file:
                found = json.loads(file.readline(MOST_NOTES))
        except (OSError, ValueError):
            return []
        return [str(one)[:100] for one in found] if isinstance(found, list) else []

    def close(self) -> None:
        """Let go of its descriptors."""
        os.close(self.pidfd)
        if self.peer:
            self.peer.close()

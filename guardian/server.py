"""A server: its state, its messages and its end."""

from __future__ import annotations

import contextlib
import logging
import signal
import sqlite3
import time
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import quote

from ..errors.bilingual import Bilingual
from .channel import STACKS, Peer
from .heartbeat import Heartbeat
from .limits import Limits
from .logging import log_event
from .memory_growth import MemoryGrowth
from .messages import reason_text
from .mode import Mode
from .server_process import ServerProcess

RUNNING_PROMPTS = "SELECT id FROM prompts WHERE state = 'running' LIMIT ?"
MAX_PROMPTS = 100
"""Running prompts that the log names."""
MAX_ID_CHARACTERS = 100
WORKER_CHANGE_SECONDS = 3.0
"""The longest time between the end of one worker thread and the start of the next."""
STACK_SECONDS = 0.5
"""Time to write the stacks before SIGKILL."""
STOP_MARGIN = 5.0
"""Seconds for a server to stop, beyond the time for its running prompt."""


class State(StrEnum):
    """The life of a server."""

    STARTING = "starting"
    READY = "ready"  # on standby
    ACTIVE = "active"  # has the port and the queue
    STOPPING = "stopping"


class EndRequest(StrEnum):
    """Why a server asked to be killed; the values are keys of its message."""

    KILL = "kill"
    GPU_FAILED = "sick"


class Server:
    """One server.

    Attributes:
        process: its process.
        number: counts the servers of a guardian; the temporary folder is named after it.
        mode: what it loads.
        state: where it is in its life.
        state_since: when that state began.
        started_at: when it was started or adopted.
        activated_at: when it became active; None before.
        peer: the connection to it, None while there is none.
        has_said_hello: whether it ever sent a message.
        heartbeat: its last heartbeat, None before the first.
        last_message: when the last message came.
        worker_ended_since: since when its heartbeats say that its worker has ended.
        prompts_file: the database that marks its running prompts, "" for none.
        end_request: set when it asked to be killed.
        end_reason: set once it is to end.
        being_killed: whether SIGKILL follows at ``deadline``.
        deadline: when it has to have ended; valid in the state ``STOPPING`` or while it is being
            killed.
    """

    def __init__(
        self,
        process: ServerProcess,
        number: int,
        mode: Mode,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin in the state ``STARTING``.

        Args:
            process: its process.
            number: its number among the servers.
            mode: what it loads.
            limits: what it may do.
            clock: monotonic time.
        """
        now = clock()
        self.process = process
        self.number = number
        self.mode = mode
        self.limits = limits
        self.clock = clock
        self.state = State.STARTING
        self.state_since = now
        self.started_at = now
        self.activated_at: float | None = None
        self.peer: Peer | None = None
        self.has_said_hello = False
        self.heartbeat: Heartbeat | None = None
        self.last_message = now
        self.worker_ended_since: float | None = None
        self.growth = MemoryGrowth(limits)
        self.prompts_file = ""
        self.end_request: EndRequest | None = None
        self.end_reason: Bilingual | None = None
        self.being_killed = False
        self.deadline = now

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self.process.pid

    def enter(self, state: State) -> None:
        """Change the state."""
        now = self.clock()
        self.state = state
        self.state_since = now
        self.last_message = now
        if state is State.ACTIVE:
            self.activated_at = now

    def begin_again(self) -> None:
        """Return to the state of a new server, after the process has executed itself again."""
        self.enter(State.STARTING)
        self.activated_at = None
        self.heartbeat = None
        self.worker_ended_since = None
        self.end_reason = None

    def record_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Keep the last heartbeat.

        Args:
            heartbeat: what the server sent.
        """
        self.heartbeat = heartbeat
        if not heartbeat.worker_ended:
            self.worker_ended_since = None
        elif self.worker_ended_since is None:
            self.worker_ended_since = self.clock()

    def hang_reason(self) -> Bilingual | None:
        """Return why the server counts as hanging, or None."""
        now = self.clock()
        if self.state is State.STARTING and now - self.state_since > self.limits.start:
            return reason_text("not ready", seconds=self.limits.start)
        if self.state in (State.STARTING, State.STOPPING):
            return None
        silence = now - self.last_message
        if silence > self.limits.silence:
            return reason_text("no heartbeat", seconds=silence)
        blocked = self.heartbeat.loop_blocked if self.heartbeat else 0.0
        if self.state is State.ACTIVE and blocked > self.limits.silence:
            return reason_text("blocked", seconds=blocked)
        if self.worker_ended_since is not None:
            ended_for = now - self.worker_ended_since
            if ended_for > WORKER_CHANGE_SECONDS:
                return reason_text("worker", seconds=ended_for)
        return None

    def stop(self, reason: Bilingual, is_last: bool = False) -> None:
        """Stop in order: a running prompt may end.

        Args:
            reason: why it ends.
            is_last: whether the guardian stops, too.
        """
        has_prompts = self.state is State.ACTIVE and self.peer is not None
        self.end_reason = reason
        self.enter(State.STOPPING)
        grace = self.limits.grace if has_prompts else 0.0
        self.deadline = self.clock() + grace + STOP_MARGIN
        message = {"drain": self.limits.grace, "last": is_last}
        if not (has_prompts and self.peer and self.peer.send(message)):
            self.process.send_signal(signal.SIGTERM)

    def kill(self, reason: Bilingual) -> None:
        """Write the stacks of all threads; :meth:`enforce_deadline` kills a moment later.

        Args:
            reason: why it ends.
        """
        log_event("kill", reason=reason, pid=self.pid, level=logging.WARNING)
        self.end_reason = reason
        self.being_killed = True
        self.deadline = self.clock() + STACK_SECONDS
        if self.peer:  # only then the server handles this signal
            self.process.send_signal(STACKS)
        self.process.send_signal(signal.SIGCONT)

    def enforce_deadline(self, now: float) -> None:
        """Kill a server that hangs, or that has not ended in time.

        Args:
            now: monotonic time.
        """
        if self.being_killed:
            if now > self.deadline:
                self.process.send_signal(signal.SIGKILL)
        elif self.state is State.STOPPING and now > self.deadline:
            self.kill(reason_text("late", reason=self.end_reason))
        elif hang_reason := self.hang_reason():
            self.kill(hang_reason)

    def running_prompts(self) -> list[str]:
        """Return the ids of the prompts that ran when it ended.

        They are there until another server is active.
        """
        if not self.prompts_file:
            return []
        uri = f"file:{quote(self.prompts_file)}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
                rows = database.execute(RUNNING_PROMPTS, (MAX_PROMPTS,)).fetchall()
        except sqlite3.Error:
            return []
        return [str(prompt_id)[:MAX_ID_CHARACTERS] for (prompt_id,) in rows]

    def close(self) -> None:
        """Close its descriptors."""
        self.process.close()
        if self.peer:
            self.peer.close()

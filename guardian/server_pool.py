"""The servers of a guardian: start, standby, activation, replacement and end.

At most one server is *active*: it has the listening sockets and the queue. Another may be *ready*,
a hot standby that has imported everything and waits. When the active server ends, for whatever
reason, the next ready one becomes active. Clients that connect meanwhile wait in the backlog of the
sockets.
"""

from __future__ import annotations

import functools
import logging
import signal
import socket
from collections.abc import Callable

from ..errors.bilingual import Bilingual
from .descriptor_watcher import DescriptorWatcher
from .launch_config import LaunchConfig
from .launcher import Launcher
from .limits import Limits
from .logging import log_event, notify_systemd
from .messages import reason_text
from .mode import Mode
from .port_probe import PortProbe
from .server import Server, State

MAX_ENDS_WITHOUT_HELLO = 2
"""Servers that may end without a message before the guardian stands aside."""


class ServerPool:
    """All servers of one guardian.

    Attributes:
        sockets: the listening sockets; empty until they are opened or adopted.
        launcher: starts servers.
        servers: those that run.
        is_stopping: whether the guardian stops, so that no server starts.
        is_unusable: whether servers end without a message, so that the guardian is of no use.
    """

    def __init__(
        self,
        config: LaunchConfig,
        sockets: list[socket.socket],
        limits: Limits,
        clock: Callable[[], float],
        watcher: DescriptorWatcher,
    ) -> None:
        """Start without servers.

        Args:
            config: what to start.
            sockets: the listening sockets.
            limits: what servers may do.
            clock: monotonic time.
            watcher: reports the end of a process.
        """
        self.config = config
        self.sockets = sockets
        self.limits = limits
        self.clock = clock
        self.watcher = watcher
        self.launcher = Launcher(config, limits, clock)
        self.servers: list[Server] = []
        self._probe = PortProbe(limits)
        self.is_stopping = False
        self.is_unusable = False
        self._was_active = False
        self._ends_without_hello = 0

    @property
    def active(self) -> Server | None:
        """The server that has the port and the queue, also while it stops."""
        servers = (server for server in self.servers if server.activated_at is not None)
        return next(servers, None)

    def find(self, pid: int) -> Server | None:
        """Return the server with a process id, if there is one."""
        return next((server for server in self.servers if server.pid == pid), None)

    def _standbys(self) -> list[Server]:
        """Return the servers that start or wait to become active."""
        states = (State.STARTING, State.READY)
        return [server for server in self.servers if server.state in states]

    def _ready(self) -> Server | None:
        return next((server for server in self.servers if server.state is State.READY), None)

    def start_if_needed(self, now: float) -> None:
        """Start a server if one is missing and the launcher agrees.

        Args:
            now: monotonic time.
        """
        if self.is_stopping or self.is_unusable or not self._needs_server():
            self.launcher.cancel()
        elif self.launcher.may_start(now):
            server = self.launcher.start()
            if server is not None:
                self._add(server)

    def _needs_server(self) -> bool:
        """Return whether a server is missing.

        None starts beside one that is being killed, whose end may change the mode.
        """
        active = self.active
        if self._standbys():
            return False
        if active is None:
            return True
        is_wanted = self.config.standby or active.end_reason is not None
        serves = active.state is State.ACTIVE and active.heartbeat is not None
        return is_wanted and serves and not active.being_killed

    def _add(self, server: Server) -> None:
        self.servers.append(server)
        self.watcher.watch(server.process, functools.partial(self._on_exit, server))

    def adopt(self, pid: int, mode: Mode, sockets: list[socket.socket]) -> Server:
        """Take over the active server of an earlier guardian.

        Args:
            pid: its process.
            mode: its mode.
            sockets: its listening sockets; not used if the guardian could open them.

        Raises:
            ProcessLookupError: the process has ended.
        """
        server = self.launcher.adopt(pid, mode)
        self._add(server)
        server.enter(State.ACTIVE)
        self.sockets = self.sockets or sockets
        log_event("adopt", pid=pid)
        self._report_ready()
        return server

    def mark_ready(self, server: Server) -> None:
        """Note that a server can become active, and activate it if none is.

        Args:
            server: a server that has said so.
        """
        server.enter(State.READY)
        log_event("ready", seconds=self.clock() - server.started_at, pid=server.pid)
        self.activate_next()

    def activate_next(self) -> None:
        """Give port and queue to a ready server, if no server has them."""
        server = self._ready()
        if self.is_stopping or self.active or server is None:
            return
        self.config.temporary.hand_over(server.number, [each.number for each in self.servers])
        message = {"go": True, "mode": server.mode}
        if server.peer and server.peer.send(message, self.sockets):
            server.enter(State.ACTIVE)
            self._probe.reset(self.clock())
            log_event("go", pid=server.pid)
            self._report_ready()
        else:
            server.kill(reason_text("unreachable"))

    def _report_ready(self) -> None:
        if not self._was_active:
            notify_systemd(self.config.notify_address, "READY=1")
        self._was_active = True

    def replace_active(self, reason: Bilingual, use_standby: bool = True) -> None:
        """Prepare another server; the active one stops once that is ready.

        Args:
            reason: why it is replaced.
            use_standby: whether the present standby may take over. It has imported the files of
                an earlier time.
        """
        active = self.active
        if active is None or active.state is not State.ACTIVE or active.end_reason:
            return
        if self.is_stopping:
            return
        active.end_reason = reason
        if not use_standby:
            for server in self._standbys():
                server.stop(reason_text("outdated"))
        log_event("replace", reason=reason, pid=active.pid)

    def stop_replaced(self, active: Server) -> None:
        """Stop the active server in order, if it is to be replaced and another is ready.

        Args:
            active: the active server.
        """
        if active.end_reason and self._ready():
            active.stop(active.end_reason)

    def check_port(self, active: Server, now: float) -> None:
        """Kill the active server if the port does not respond.

        Args:
            active: the active server; before its first heartbeat it is not checked.
            now: monotonic time.
        """
        if active.heartbeat is not None:
            failure = self._probe.failure(self.sockets, now)
            if failure is not None:
                active.kill(failure)

    def leave_degraded_mode(self, active: Server) -> None:
        """Replace the servers that run in a degraded mode; call it while the mode is normal.

        Args:
            active: the active server.
        """
        for server in self._standbys():
            if server.mode is not Mode.NORMAL:
                server.stop(reason_text("outdated"))
        if active.mode is not Mode.NORMAL:
            self.replace_active(reason_text("stable"))

    def stop_all(self, reason: Bilingual) -> None:
        """Stop all servers in order and start no other.

        Args:
            reason: why they stop.
        """
        self.is_stopping = True
        for server in self.servers:
            if server.state is not State.STOPPING and not server.being_killed:
                server.stop(reason, is_last=True)

    def kill_all(self) -> None:
        """Kill all servers at once."""
        for server in self.servers:
            server.process.send_signal(signal.SIGKILL)

    def enforce_deadlines(self, now: float) -> None:
        """Kill the servers that hang or do not stop in time.

        Args:
            now: monotonic time.
        """
        for server in self.servers:
            server.enforce_deadline(now)

    def _on_exit(self, server: Server) -> None:
        """Remove a server that has ended, and activate the next."""
        server.process.kill_group()
        status = server.process.exit_status()
        self.watcher.unwatch(server.process)
        if server.peer:
            self.watcher.unwatch(server.peer)
        self.servers.remove(server)
        server.close()
        is_planned = server.state is State.STOPPING and not server.being_killed
        level = logging.INFO if is_planned else logging.WARNING
        reason = server.end_reason or reason_text("unexpected")
        log_event("end", status=status, reason=reason, pid=server.pid, level=level)
        prompts = server.running_prompts()
        if prompts:
            log_event("ran", prompts=", ".join(prompts), pid=server.pid, level=level)
        if server.state is State.STARTING and not server.has_said_hello and not self._was_active:
            self._ends_without_hello += 1
            self.is_unusable = self._ends_without_hello >= MAX_ENDS_WITHOUT_HELLO
        if not is_planned:
            is_standby = server.activated_at is None and self.active is not None
            self.launcher.record_crash(server, is_standby, bool(prompts))
        self.activate_next()

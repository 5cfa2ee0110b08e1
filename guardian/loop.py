"""The guardian's loop: it turns signals, messages and time into decisions about servers."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import socket
import time
from collections.abc import Callable, Generator
from enum import IntEnum

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from .channel import Message, Peer, listen
from .descriptor_watcher import DescriptorWatcher
from .heartbeat import Heartbeat
from .launch_config import LaunchConfig
from .limits import Limits
from .logging import log_event, notify_systemd
from .messages import reason_from_server, reason_text, signal_name
from .mode import Mode
from .replacement_policy import ReplacementPolicy
from .server import EndRequest, Server, State
from .server_pool import ServerPool
from .signals import queue_signals
from .suspend_aware_clock import SuspendAwareClock

TICK_SECONDS = 0.25
"""Time between two checks of everything that sends no event."""
ADOPTION_SECONDS = 5.0
"""Time to wait for a server of an earlier guardian."""
MAX_REASON_CHARACTERS = 200


class Outcome(IntEnum):
    """Why the guardian ended."""

    STOPPED = 0  # by a signal
    PORT_IN_USE = 1  # and no server to adopt
    UNUSABLE = 2  # servers end without a message: ComfyUI had better start without a guardian


class Guardian:
    """Owns the port and keeps a server active until a signal stops it."""

    def __init__(
        self,
        config: LaunchConfig,
        sockets: list[socket.socket],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listen for servers.

        Args:
            config: what to start.
            sockets: the listening sockets; empty when the port is in use, perhaps by a server to
                adopt.
            limits: what servers may do.
            clock: monotonic time.
        """
        self.config = config
        self.limits = limits
        self.clock = SuspendAwareClock(clock)
        self._watcher = DescriptorWatcher()
        self.pool = ServerPool(config, sockets, limits, self.clock, self._watcher)
        self._replacement = ReplacementPolicy(limits)
        self._signals: list[int] = []
        self._control = listen(config.control)
        self._watcher.watch(self._control, self._on_connection)

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets."""
        return self.pool.sockets

    def run(self) -> Outcome:
        """Keep a server active until SIGTERM or SIGINT.

        The servers stop in order; a second signal kills them. SIGHUP replaces the active server,
        or stops the guardian if it runs on a terminal.
        """
        pool = self.pool
        with self._queued_signals():
            if not pool.sockets and not self._find_sockets():
                return Outcome.PORT_IN_USE
            log_event("start", port=pool.sockets[0].getsockname()[1])
            while pool.servers or not (pool.is_stopping or pool.is_unusable):
                self._handle_events()
                self._tick()
        self.config.temporary.remove()
        self.config.control.unlink(missing_ok=True)
        return Outcome.UNUSABLE if pool.is_unusable else Outcome.STOPPED

    def _find_sockets(self) -> bool:
        """Wait for a server whose guardian has ended; it passes on the listening sockets.

        If that server was killed, too, the port becomes free a moment later.
        """
        pool = self.pool
        deadline = self.clock() + ADOPTION_SECONDS
        while not pool.sockets and not pool.is_stopping and self.clock() < deadline:
            self._handle_events()
            if not pool.sockets and self.config.reopen_sockets:
                with contextlib.suppress(ZImageError):
                    pool.sockets = self.config.reopen_sockets()
        return bool(pool.sockets)

    @contextlib.contextmanager
    def _queued_signals(self) -> Generator[None, None, None]:
        try:
            with queue_signals(self._signals) as arrival:
                self._watcher.watch(arrival, lambda: arrival.recv(4096))
                yield
        finally:
            self._watcher.close()
            self._control.close()

    def _handle_events(self) -> None:
        """Wait for one tick at most, and act on messages, ends of servers and signals."""
        self._watcher.wait(TICK_SECONDS)
        while self._signals:
            self._on_signal(self._signals.pop(0))

    def _on_signal(self, number: int) -> None:
        name = signal_name(number)
        if number == signal.SIGHUP and not self.config.on_terminal:
            self.pool.replace_active(name, use_standby=False)
        elif not self.pool.is_stopping:
            notify_systemd(self.config.notify_address, "STOPPING=1")
            log_event("stop", signal=name)
            self.pool.stop_all(name)
        else:
            self.pool.kill_all()

    def _on_connection(self) -> None:
        try:
            connection, _ = self._control.accept()
        except OSError as error:  # no free descriptor; the server tries again
            log_event("connect", error=error, level=logging.ERROR)
            return
        connection.setblocking(False)
        peer = Peer(connection)
        self._watcher.watch(peer, functools.partial(self._on_packet, peer))

    def _on_packet(self, peer: Peer) -> None:
        packet = peer.receive()
        if packet is None:
            self._on_disconnection(peer)
            return
        message, sockets = packet
        if "hello" in message:
            self._on_hello(peer, message, sockets)
            return
        server = self.pool.find(peer.pid)
        if server is None:
            return
        server.last_message = self.clock()
        heartbeat = Heartbeat.from_message(message.get("beat"))
        if heartbeat is not None:
            self._on_heartbeat(server, heartbeat)
        else:
            self._on_request(server, message)

    def _on_disconnection(self, peer: Peer) -> None:
        self._watcher.unwatch(peer)
        peer.close()
        for server in self.pool.servers:
            if server.peer is peer:
                server.peer = None

    def _on_hello(self, peer: Peer, message: Message, sockets: list[socket.socket]) -> None:
        """Learn the state of a server, which may be one to adopt."""
        said = str(message["hello"])
        server = self.pool.find(peer.pid)
        is_adoptable = said == State.ACTIVE and bool(sockets) and self.pool.active is None
        if server is None and is_adoptable:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                server = self.pool.adopt(peer.pid, _mode(message), sockets)
        if server is None or said not in (State.STARTING, State.READY, State.ACTIVE):
            peer.send({"stranger": True})
            return
        server.peer = peer
        server.has_said_hello = True
        server.prompts_file = str(message.get("notes", ""))
        if said == State.STARTING and server.state is State.ACTIVE:
            server.begin_again()
        if said == State.READY and server.state is State.STARTING:
            self.pool.mark_ready(server)

    def _on_heartbeat(self, server: Server, heartbeat: Heartbeat) -> None:
        reason = self._replacement.record_heartbeat(server, heartbeat, self.clock())
        if reason is not None:
            self.pool.replace_active(reason)

    def _on_request(self, server: Server, message: Message) -> None:
        """Replace or kill a server that asks for it."""
        if "replace" in message:
            if server.state is State.ACTIVE:
                self.pool.replace_active(_reason(message["replace"]))
            return
        for request in EndRequest:
            if request in message and not server.being_killed:
                server.end_request = request
                reason = _reason(message[request])
                if request is EndRequest.GPU_FAILED:
                    reason = reason_text("gpu", error=reason)
                server.kill(reason)

    def _tick(self) -> None:
        """Act on everything that sends no event."""
        now = self.clock()
        pool = self.pool
        pool.enforce_deadlines(now)
        active = pool.active
        if active is not None and active.state is State.ACTIVE and not active.being_killed:
            self._check_active(active, now)
        pool.start_if_needed(now)
        if active is not None and pool.launcher.restarts.recover(now):
            pool.leave_degraded_mode(active)
        notify_systemd(self.config.notify_address, "WATCHDOG=1")

    def _check_active(self, active: Server, now: float) -> None:
        self.pool.launcher.restarts.record_uptime(now - (active.activated_at or now))
        if active.end_reason:
            self.pool.stop_replaced(active)
        else:
            self.pool.check_port(active, now)


def _mode(message: Message) -> Mode:
    try:
        return Mode(str(message.get("mode")))
    except ValueError:
        return Mode.NORMAL


def _reason(text: object) -> Bilingual:
    return reason_from_server(str(text)[:MAX_REASON_CHARACTERS])

"""The connection of a server to its guardian: a thread sends heartbeats and receives orders.

When a guardian ends, the thread connects to the next one; the server serves meanwhile.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...config import claim
from ...guardian.channel import STACKS, Message, Peer, connect
from ..base import guardian

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between two heartbeats."""


def _end() -> None:
    log.warning("Z-Image: this server has not been activated and its guardian has ended; it ends")
    logging.shutdown()
    os._exit(1)


class Link:
    """A connection to the guardian.

    Args:
        path: the guardian's control socket.
        describe: returns what each heartbeat says: ``resident`` (MiB), ``running``, ``waiting``,
            ``models`` and more.
        drain: ends the process in order within some seconds.
        guarded: whether a guardian has started this process itself, and not a server that passed
            on its environment. A process of a guardian that waits for its activation ends with the
            guardian: the next guardian has servers of its own, and the first process that opened
            the queue would keep it from them.

    Attributes:
        settle: called before this process asks for its immediate end, which leaves no time to
            write anything.
        state: ``starting``, ``ready``, ``active``, or ``stranger`` without a guardian.
        mode: ``normal``, or the degraded mode in which the guardian has started this server.
        last: whether the guardian ends together with this process.
        notes: path of the database that marks the running prompts.
        failure: request and reason once this process is of no use anymore.
        sockets: the listening sockets that the guardian has passed.
        loop: the server's event loop once it runs.
    """

    def __init__(
        self,
        path: Path,
        describe: Callable[[], dict[str, Any]],
        drain: Callable[[float], None],
        guarded: bool,
    ) -> None:
        self.path = path
        self.describe = describe
        self.drain = drain
        self.guarded = guarded
        self.settle: Callable[[], object] = list
        self.state = "starting"
        self.mode = "normal"
        self.last = False
        self.notes = ""
        self.failure: tuple[str, str] | None = None
        self.sockets: list[socket.socket] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self._activated = threading.Event()
        self._peer: Peer | None = None
        self._loop_asked = False
        self._loop_blocked = 0.0

    def start(self) -> None:
        """Connect in a thread, and register with the other parts."""
        if self.guarded:
            claim()
        faulthandler.register(STACKS, all_threads=True)
        guardian.register(self)
        threading.Thread(target=self._run, name="zimage-link", daemon=True).start()

    def wait(self) -> list[socket.socket]:
        """Report that this server is ready, wait for its activation, return listening sockets."""
        if self.state == "starting":
            self.state = "ready"
        if peer := self._peer:
            peer.send(self._hello())
        self._activated.wait()
        return self.sockets

    @property
    def serves(self) -> bool:
        """Whether the guardian has activated this server."""
        return self.state == "active"

    @property
    def is_heard(self) -> bool:
        """Whether the guardian is connected and has activated this server."""
        return self._peer is not None and self.serves

    def ask_to_be_killed(self, reason: str) -> bool:
        """Ask for the immediate end of this process, after :attr:`settle`."""
        self.settle()
        return self._send_request("kill", reason)

    def ask_to_be_replaced(self, reason: str) -> bool:
        """Ask for another process and the orderly end of this one."""
        return self._send_request("replace", reason)

    def report_failure(self, request: str, reason: str) -> None:
        """Ask for another process as soon as the running prompt has ended."""
        self.failure = request, reason

    def send_notes(self, path: Path) -> None:
        """Send the path of the database that marks the running prompts."""
        self.notes = str(path)
        if peer := self._peer:
            peer.send(self._hello())

    def between_prompts(self) -> None:
        """Return when this process may run another prompt.

        After a failure that is never, as long as the guardian is there to replace the process.
        """
        while self.failure and self._send_request(*self.failure):
            time.sleep(BEAT)
        self.failure = None

    def _send_request(self, request: str, reason: str) -> bool:
        peer = self._peer
        return bool(peer and peer.send({request: reason}))

    def _hello(self) -> Message:
        return {"hello": self.state, "mode": self.mode, "notes": self.notes}

    def _run(self) -> None:
        was_connected = False
        while True:
            try:
                self._peer = connect(self.path, BEAT)
                was_connected = True
            except OSError:
                if self.state != "active" and (was_connected or self.guarded):
                    _end()  # no guardian will ever activate this process
                if not was_connected:
                    self._become_stranger()
                    return
                time.sleep(BEAT)
                continue
            try:
                self._talk(self._peer)
            except Exception:
                log.exception("Z-Image: the connection to the guardian failed")
            peer, self._peer = self._peer, None
            peer.close()
            if self.state == "stranger":
                return
            time.sleep(BEAT)

    def _talk(self, peer: Peer) -> None:
        """Send heartbeats and follow orders until the connection ends."""
        peer.send(self._hello(), self.sockets if self.state == "active" else ())
        while True:
            try:
                received = peer.receive()
            except TimeoutError:
                if not peer.send({"beat": {"loop": self._measure_loop(), **self.describe()}}):
                    return
                continue
            if received is None or not self._obey(*received):
                return

    def _obey(self, message: Message, sockets: list[socket.socket]) -> bool:
        """Follow an order; return False when this connection is of no more use."""
        if "go" in message:
            self.sockets = sockets
            self.state = "active"
            self.mode = str(message.get("mode", "normal"))
            self._activated.set()
        elif "stranger" in message and self.state != "active":
            if self.guarded:  # started by an earlier guardian; this one has servers of its own
                _end()
            self._become_stranger()
            return False
        elif "drain" in message:
            self.last = bool(message.get("last"))
            threading.Thread(target=self.drain, args=(message["drain"],), daemon=True).start()
        return True

    def _become_stranger(self) -> None:
        """Serve without a guardian."""
        self.state = "stranger"
        self._activated.set()

    def _measure_loop(self) -> float:
        """Return the seconds for which the event loop has not answered, and ask it again.

        They are counted in heartbeats, so a pause of the whole process does not count.
        """
        if self.loop is None:
            return 0.0
        if self._loop_asked:
            self._loop_blocked += BEAT
        else:
            self._loop_blocked = 0.0
            self._loop_asked = True
            self.loop.call_soon_threadsafe(self._answer)
        return self._loop_blocked

    def _answer(self) -> None:
        self._loop_asked = False

"""The server's side of the guardian: signs of life out, orders in, from a thread of its own.

A guardian that goes away is looked for until there is another; the server goes on meanwhile.
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

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between two signs of life."""


_current: list[Link] = []


def is_heard() -> bool:
    """Whether there is a guardian now that could replace this process."""
    return any(one.is_heard for one in _current)


def ask_to_be_killed(reason: str) -> bool:
    """Ask the guardian to replace this process at once; False when there is none to hear it.

    What parts have yet to write is written before.
    """
    for one in _current:
        one.settle()
    return any(one.ask_for("kill", reason) for one in _current)


def ask_to_be_replaced(reason: str) -> bool:
    """Ask the guardian for another process and the orderly end of this one; False as above."""
    return any(one.ask_for("replace", reason) for one in _current)


def fails(what: str, reason: str) -> None:
    """Note that this process is of no use any more: once the prompt that runs has ended, the
    guardian is asked to replace it (``kill``, or ``sick`` for the GPU)."""
    for one in _current:
        one.useless = what, reason


def serves() -> bool:
    """Whether a guardian has told this process to go, so nobody but a server that it is ending
    can still have what servers share."""
    return any(one.state == "active" for one in _current)


def _end() -> None:
    log.warning("Z-Image: the guardian of this waiting server is gone, so the server ends")
    logging.shutdown()
    os._exit(1)


class Link:
    """Talks to the guardian.

    Args:
        path: the guardian's control socket.
        describe: ``resident`` (MiB), ``running``, ``waiting`` and ``models`` for each sign of life.
        drain: ends the process in order within some seconds.
        guarded: whether a guardian has started this process, and not a server with its
            environment. Such a one that waits must not go on by itself when its guardian ends:
            the next guardian has others, and the first to take the queue would leave them without.
    """

    def __init__(
        self, path: Path, describe: Callable[[], dict[str, Any]], drain: Callable[[float], None],
        guarded: bool,
    ) -> None:  # fmt: skip
        self.path, self.describe, self.drain, self.guarded = path, describe, drain, guarded
        self.settle: Callable[[], object] = list
        """Called before the end is asked for: there is no time for it afterwards."""
        self.state, self.mode = "starting", "normal"
        self.last = False
        """Whether the end that it was told of is that of the guardian, too."""
        self.notes = ""
        self.useless: tuple[str, str] | None = None
        self.sockets: list[socket.socket] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        self._go = threading.Event()
        self._peer: Peer | None = None
        self._asked, self._owed = False, 0.0

    def start(self) -> None:
        """Connect, and stay connected, in a thread."""
        if self.guarded:
            claim()
        faulthandler.register(STACKS, all_threads=True)
        _current[:] = [self]
        threading.Thread(target=self._run, name="zimage-link", daemon=True).start()

    def wait(self) -> list[socket.socket]:
        """Say that this server could serve, and wait until it may; gives the listening sockets."""
        if self.state == "starting":
            self.state = "ready"
        if peer := self._peer:
            peer.send(self._hello())
        self._go.wait()
        return self.sockets

    @property
    def is_heard(self) -> bool:
        """Whether a guardian is connected that has told this process to serve."""
        return self._peer is not None and self.state == "active"

    def tell_notes(self, path: Path) -> None:
        """Say which database marks the prompts that run."""
        self.notes = str(path)
        if peer := self._peer:
            peer.send(self._hello())

    def between_prompts(self) -> None:
        """Returns when this process may run another prompt: never, when it is of no use and the
        guardian is there to replace it."""
        while self.useless and self.ask_for(*self.useless):
            time.sleep(BEAT)
        self.useless = None

    def ask_for(self, what: str, reason: str) -> bool:
        """Ask to be replaced, in order (``replace``) or at once (``kill``)."""
        peer = self._peer
        return bool(peer and peer.send({what: reason}))

    def _hello(self) -> Message:
        return {"hello": self.state, "mode": self.mode, "notes": self.notes}

    def _run(self) -> None:
        met = False
        while True:
            try:
                self._peer = connect(self.path, BEAT)
                met = True
            except OSError:
                if self.state != "active" and (met or self.guarded):
                    _end()  # nobody will ever tell it to go
                if not met:
                    self._be_a_stranger()
                    return
                time.sleep(BEAT)
                continue
            try:
                self._talk(self._peer)
            except Exception:
                log.exception("Z-Image: the guardian is not heard")
            peer, self._peer = self._peer, None
            peer.close()
            if self.state == "stranger":
                return
            time.sleep(BEAT)

    def _talk(self, peer: Peer) -> None:
        peer.send(self._hello(), self.sockets if self.state == "active" else ())
        while True:
            try:
                heard = peer.receive()
            except TimeoutError:
                if not peer.send({"beat": {"loop": self._blocked(), **self.describe()}}):
                    return
                continue
            if heard is None:
                return
            message, sockets = heard
            if "go" in message:
                self.sockets, self.state = sockets, "active"
                self.mode = str(message.get("mode", "normal"))
                self._go.set()
            elif "stranger" in message and self.state != "active":
                if self.guarded:  # of a guardian before this one, which has its own servers
                    _end()
                self._be_a_stranger()
                return
            elif "drain" in message:
                self.last = bool(message.get("last"))
                threading.Thread(target=self.drain, args=(message["drain"],), daemon=True).start()

    def _be_a_stranger(self) -> None:
        """Go on as a server without a guardian."""
        self.state = "stranger"
        self._go.set()

    def _blocked(self) -> float:
        """Seconds for which the event loop has owed an answer; asks it again once it has come.

        Signs of life are counted: in a pause of the whole process, nothing is owed.
        """
        if self.loop is None:
            return 0.0
        if self._asked:
            self._owed += BEAT
        else:
            self._owed, self._asked = 0.0, True
            self.loop.call_soon_threadsafe(self._answer)
        return self._owed

    def _answer(self) -> None:
        self._asked = False

"""The guardian: one loop that owns the port, starts servers, judges them and replaces them.

At most one server is *active*: it has the listening sockets and the queue. Another may have
imported everything and wait (*ready*, the hot standby). When the active one ends, however it
ends, the next is told to go, and whoever connects meanwhile waits in the sockets' backlog.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from ..errors import ZImageError
from . import messages
from .channel import STACKS, Message, Peer, listen
from .gpu_memory import Gpu
from .launch_config import Plan
from .limits import Limits
from .logging import notify
from .messages import Text, reason
from .port_probe import Probe
from .restart_policy import Crashes, Mode
from .server_process import Child
from .signals import caught
from .suspend_aware_clock import Awake

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks at everything that does not announce itself."""
DONE, TAKEN, USELESS = range(3)
UNHEARD = 2
"""Servers that may end without a word before the guardian stands aside."""
LAST_WORDS = 0.5
"""Seconds for a server that is to be killed to write its stacks."""
GROWTHS = 6
"""Times :attr:`Limits.growth_time` between two replacements for growth; one that comes back at once
is not mended by them."""
ADOPTION = 5.0
"""Seconds to wait for a server of a guardian that is gone."""


class Guardian:
    """Runs until it is told to end.

    Args:
        plan: what to guard.
        sockets: listening; empty when the port is taken, perhaps by a server to adopt.
        limits: when to act.
    """

    def __init__(
        self,
        plan: Plan,
        sockets: list[socket.socket],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan, self.sockets, self.limits, self.clock = plan, sockets, limits, Awake(clock)
        self.children: list[Child] = []
        self.crashes = Crashes(limits, plan.gpu)
        self.selector = selectors.DefaultSelector()
        self.number = plan.temporary.used()
        self.standbys = Crashes(limits, gpu=False)
        self.next_start = self.next_growth = 0.0
        self.ending = self.served = self.useless = False
        self.unheard = 0
        self.signals: list[int] = []
        self.control = listen(plan.control)
        self.probe, self.gpu = Probe(limits), Gpu(limits, plan.gpu)
        self._watch(self.control, self._accept)

    # --- what the command line calls ------------------------------------------------------

    def run(self) -> int:
        """Guard until SIGTERM or SIGINT, then give :data:`DONE`.

        SIGHUP replaces the server. A second SIGTERM or SIGINT does not wait for the running prompt.

        Returns:
            :data:`TAKEN` when there was nothing to adopt behind a port that is in use,
            :data:`USELESS` when servers end without a word to the guardian: then ComfyUI does
            not start at all, or not with this pack's part, and is better started without.
        """
        with self._signals():
            if not self.sockets and not self._adopt():
                return TAKEN
            self._say("start", self.sockets[0].getsockname()[1])
            while self.children or not (self.ending or self.useless):
                self._wait(TICK)
                self._tick()
        self.plan.temporary.remove()
        self.plan.control.unlink(missing_ok=True)
        return USELESS if self.useless else DONE

    def _adopt(self) -> bool:
        """Wait for a server whose guardian is gone; it brings the sockets. One that was killed
        with its guardian has the port a little longer than it lives, and then nobody has."""
        until = self.clock() + ADOPTION
        while not self.sockets and not self.ending and self.clock() < until:
            self._wait(TICK)
            if not self.sockets and self.plan.reopen:
                with contextlib.suppress(ZImageError):
                    self.sockets = self.plan.reopen()
        return bool(self.sockets)

    # --- events -----------------------------------------------------------------------------

    def _watch(self, source: Any, handle: Callable[[], object]) -> None:
        self.selector.register(source, selectors.EVENT_READ, handle)

    def _wait(self, seconds: float) -> None:
        for key, _ in self.selector.select(seconds):
            key.data()
        while self.signals:
            self._on_signal(self.signals.pop(0))

    @contextlib.contextmanager
    def _signals(self) -> Any:
        try:
            with caught(self.signals) as arrival:
                self._watch(arrival, lambda: arrival.recv(4096))
                yield
        finally:
            self.selector.close()
            self.control.close()

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP and not self.plan.terminal:
            self._replace(name, fresh=True)
        elif not self.ending:
            self.ending = True
            notify(self.plan.notify, "STOPPING=1")
            self._say("stop", name)
            for child in self.children:
                if child.state != "ending" and not child.doomed:
                    self._drain(child, name)
        else:
            for child in self.children:
                child.end(signal.SIGKILL)

    def _accept(self) -> None:
        try:
            connection, _ = self.control.accept()
        except OSError as error:  # no descriptors left; it comes again
            self._say("connect", error, level=logging.ERROR)
            return
        connection.setblocking(False)
        peer = Peer(connection)
        self._watch(peer, functools.partial(self._hear, peer))

    def _hear(self, peer: Peer) -> None:
        heard = peer.receive()
        if heard is None:
            self.selector.unregister(peer)
            peer.close()
            for one in self.children:
                one.peer = None if one.peer is peer else one.peer
            return
        child = next((one for one in self.children if one.pid == peer.pid), None)
        message, sockets = heard
        if "hello" in message:
            self._greet(peer, child, message, sockets)
        elif child is not None:
            child.heard = self.clock()
            if isinstance(message.get("beat"), dict):
                self._on_beat(child, message["beat"])
            elif "replace" in message and child.state == "active":
                self._replace(messages.heard(str(message["replace"])[:200]))
            elif ("kill" in message or "sick" in message) and not child.doomed:
                child.blames = "kill" if "kill" in message else "sick"
                text = messages.heard(str(message[child.blames])[:200])
                self._kill(child, reason("sick", text) if child.blames == "sick" else text)

    def _on_beat(self, child: Child, beat: Message) -> None:
        """Age is judged between two signs of life that both tell of rest."""
        before, now = child.beat, self.clock()
        idle = not any(one.get("running") or one.get("waiting") for one in (before, beat))
        child.beat = beat
        child.idled = (child.idled or now) if beat.get("worker") is False else None
        if child.state != "active" or child.why:
            return
        rest = beat.get("rest")
        if rest and rest != before.get("rest"):
            why = self._on_memory(child, now, rest)
        else:
            why = self._on_memory(child, now, beat) if idle else None
        if self.limits.age and idle and now - child.since > self.limits.age:
            why = reason("age", now - child.since)
        if why:
            self._replace(why)

    def _on_memory(self, child: Child, now: float, reading: Message) -> Text | None:
        """Judges memory where nothing runs, or has been given back after a prompt.

        Not while one runs, however much it takes: it would run again, and take as much. A server
        may run at least one before it is replaced for what it has taken from the start.
        """
        mib = float(reading.get("resident", 0))
        why = child.growth.reason(now, mib, reading.get("models"))
        if now - child.since < self.limits.quick:
            return None
        if self.limits.ceiling and mib > self.limits.ceiling:
            return reason("ceiling", mib, self.limits.ceiling)
        if why is None or now < self.next_growth:
            return None
        self.next_growth = now + GROWTHS * self.limits.growth_time
        return why

    def _greet(
        self, peer: Peer, child: Child | None, hello: Message, sockets: list[socket.socket]
    ) -> None:
        state = hello["hello"]
        if child is None and state == "active" and sockets and not self._active():
            self.number += 1
            child = Child(peer.pid, self.number, self.limits, self.clock)
            self.children.append(child)
            self._watch(child, functools.partial(self._ended, child))
            child.become("active")
            with contextlib.suppress(ValueError):
                child.mode = Mode(hello.get("mode", ""))
            self.crashes.found(child.mode, self.clock())
            self.sockets = self.sockets or sockets
            self._say("adopt", child=child)
            self._serves()
        elif child is None or state not in {"starting", "ready", "active"}:
            peer.send({"stranger": True})
            return
        child.peer, child.heard_of, child.notes = peer, True, str(hello.get("notes", ""))
        if state == "starting" and child.state == "active":  # it has executed itself anew
            child.become("starting")
            child.beat, child.why, child.served_since, child.idled = {}, "", None, None
        if state == "ready" and child.state == "starting":
            child.become("ready")
            self._say("ready", self.clock() - child.born, child=child)
            self._promote()

    # --- servers ------------------------------------------------------------------------------

    def _active(self) -> Child | None:
        return next((one for one in self.children if one.served_since is not None), None)

    def _in(self, *states: str) -> list[Child]:
        return [one for one in self.children if one.state in states]

    def _start(self) -> None:
        self.number += 1
        mode = self.crashes.mode
        command = self.plan.command(mode, self.plan.temporary.of(self.number))
        try:
            child = Child.start(
                command, self.plan.folder, self.plan.env, self.number, self.limits, self.clock
            )
        except OSError as error:  # no memory or no processes left, say
            pause = self.crashes.died(0.0, self.clock())
            self.next_start = self.clock() + max(pause, 1.0)
            self._say("fork", error, level=logging.ERROR)
            return
        child.mode = mode
        self.children.append(child)
        self._watch(child, functools.partial(self._ended, child))
        self._say("spawn", mode, child=child)

    def _promote(self) -> None:
        """Let a waiting server have the port and the queue, when nobody has."""
        ready = self._in("ready")
        if self.ending or self._active() or not ready:
            return
        child = ready[0]
        self.plan.temporary.hand_over(child.number, [one.number for one in self.children])
        if child.peer and child.peer.send({"go": True, "mode": child.mode}, self.sockets):
            child.become("active")
            self.probe.reset(self.clock())
            self._say("go", child=child)
            self._serves()
        else:
            self._kill(child, reason("deaf"))

    def _serves(self) -> None:
        if not self.served:
            notify(self.plan.notify, "READY=1")
        self.served = True

    def _ended(self, child: Child) -> None:
        child.sweep()
        verdict = child.verdict()
        self.selector.unregister(child)
        if child.peer:
            with contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(child.peer)
        self.children.remove(child)
        child.close()
        now = self.clock()
        planned = child.state == "ending" and not child.doomed
        why = child.why or reason("itself")
        level = logging.INFO if planned else logging.WARNING
        self._say("end", verdict, why, child=child, level=level)
        if ran := child.prompts():
            self._say("ran", ", ".join(ran), child=child, level=level)
        if child.state == "starting" and not child.heard_of and not self.served:
            self.unheard += 1
            self.useless = self.unheard >= UNHEARD
        if not planned:
            served = child.served_since
            crashes = self.crashes if served is not None or not self._active() else self.standbys
            lived = now - served if served is not None else 0.0
            if child.blames == "sick":
                pause = crashes.failed(now)
            else:
                pause = crashes.died(lived, now, prompt=bool(ran or child.blames))
            self.next_start = now + pause
            if pause:
                self._say("pause", pause, self.crashes.mode)
        self._promote()

    def _drain(self, child: Child, why: Text | str) -> None:
        """End one in order: its running prompt may finish."""
        waited = child.state == "active" and child.peer is not None
        child.why = why
        child.become("ending")
        child.deadline = self.clock() + (self.limits.grace + 5 if waited else 5)
        drain = {"drain": self.limits.grace, "last": self.ending}
        if not (waited and child.peer and child.peer.send(drain)):
            child.end(signal.SIGTERM)

    def _kill(self, child: Child, why: Text | str) -> None:
        """End one that does not end: first it may write down where its threads are."""
        self._say("kill", why, child=child, level=logging.WARNING)
        child.why, child.doomed = why, True
        child.deadline = self.clock() + LAST_WORDS
        if child.peer:  # then its handler for this signal is in place
            child.end(STACKS)
        child.end(signal.SIGCONT)

    def _replace(self, why: Text | str, fresh: bool = False) -> None:
        """Prepare another server, then end the active one in order.

        Args:
            fresh: not by the standby that waits; it has imported what was there before.
        """
        active = self._active()
        if active is None or active.state != "active" or active.why or self.ending:
            return
        active.why = why
        for child in self._in("starting", "ready") if fresh else ():
            self._drain(child, reason("newer"))
        self._say("replace", why, child=active)

    # --- time ---------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.clock()
        for child in list(self.children):
            if child.doomed:
                if now > child.deadline:
                    child.end(signal.SIGKILL)
            elif child.state == "ending" and now > child.deadline:
                self._kill(child, reason("late", child.why))
            elif why := child.hang(self.limits):
                self._kill(child, why)
        active = self._active()
        if active is not None and active.state == "active" and not active.doomed:
            self._look_after(active, now)
        stopped = self.ending or self.useless
        due = not stopped and now >= self.next_start and self._wanted(active)
        if not due:
            self.gpu.forget()
        elif self._has_gpu(now):
            self._start()
        if active is not None and self.crashes.recovered(now):
            self._leave_reduced(active)
        notify(self.plan.notify, "WATCHDOG=1")

    def _leave_reduced(self, active: Child) -> None:
        """Everything may be started again: to be called as long as that is so."""
        for child in self._in("starting", "ready"):
            if child.mode is not Mode.NORMAL:
                self._drain(child, reason("newer"))
        if active.mode is not Mode.NORMAL:
            self._replace(reason("quiet"))

    def _wanted(self, active: Child | None) -> bool:
        """Whether another server is to be started now; not beside one that is being killed, whose
        death may change what is started."""
        coming = self._in("starting", "ready")
        if active is None:
            return not coming
        needed = self.plan.standby or bool(active.why)
        serves = active.state == "active" and bool(active.beat) and not active.doomed
        return needed and serves and not coming

    def _look_after(self, active: Child, now: float) -> None:
        self.crashes.lives(now - (active.served_since or now))
        if active.why:
            if self._in("ready"):
                self._drain(active, active.why)
            return
        if active.beat and (why := self.probe.failure(self.sockets, now)):
            self._kill(active, why)

    def _has_gpu(self, now: float) -> bool:
        """Whether a server that starts now finds memory on the GPU."""
        if self.crashes.mode is Mode.CPU:
            return True
        told = self.gpu.waits
        may = self.gpu.may_start(now)
        if self.gpu.waits and (may or not told):
            wanted = (self.gpu.free, self.limits.gpu_free, self.limits.gpu_wait)
            self._say("gpu full" if may else "gpu", *wanted, level=logging.WARNING)
        return may

    def _say(
        self, event: str, *values: object, child: Child | None = None, level: int = logging.INFO
    ) -> None:
        where = f"[{child.pid}] " if child else ""
        about = {"event": event, "server": child.pid if child else 0}
        log.log(level, "%s%s", where, messages.event(event, *values), extra=about)

"""A client that reconnects gets the events that ended its prompts meanwhile.

The host sends events to connected clients and forgets them; a page that was disconnected for a
moment waits for ever. Here the events that end a prompt (``executed`` of each node, then success or
error, then ``executing`` without a node) are pending until their client was connected for them.
They are made again from the history when it connects with the same ``clientId``. A new process
does not know which events have arrived: those of prompts that ended in the last moments of the old
process are pending.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from ..base.hooks import Argument, HookPoint, Patch
from ..base.prompt_outcome import LAST, client_id_of, end_time, outcome, outcome_part
from ..base.registry import About

log = logging.getLogger(__name__)

SEND = HookPoint("server", "PromptServer.send", ("self", "event", "data", "sid"))
CLIENTS = 1000
"""Clients with pending events; the oldest are dropped."""
PROMPTS = 100
"""Prompts of each client; the oldest are dropped."""
LAST_MOMENTS = 5.0
"""Seconds before the end of a process; earlier events had time to arrive."""
SECONDS = 600.0
"""After this time nobody waits for a result any more."""

ABOUT = About(
    part="reconnect",
    bare_host="A client that was disconnected for a moment never learns how its prompts ended.",
    here="The events that end them are stored, and sent when it connects with the same `clientId`.",
)

Send = Callable[..., Awaitable[None]]
SendEvent = Callable[[Any, Any], Awaitable[None]]
"""Sends an event with its data to a client that is fixed."""
Prompts = OrderedDict[str, set[str] | None]
"""By prompt: the pending parts of its outcome; None for all of them."""


def create() -> Patch:
    """Return the patch, with no pending events."""
    return Patch(SEND, PendingEvents().wrap)


class PendingEvents:
    """The events that each client has missed; used in the server's event loop alone.

    Args:
        clock: seconds since 1970.

    Attributes:
        pending: by client.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.pending: OrderedDict[str, Prompts] = OrderedDict()
        self.restored = False

    def wrap(self, original: Send) -> Send:
        """Wrap the host's ``send``, which sends every event."""
        parameters = [Argument(original, name) for name in ("self", "event", "data", "sid")]
        server_parameter, event_parameter, data_parameter, sid_parameter = parameters

        async def send(*arguments: Any, **named: Any) -> None:
            server = server_parameter.of(arguments, named)
            sid = sid_parameter.of(arguments, named)
            if not self.restored:
                self.restored = True
                self.restore(server.prompt_queue)
            if sid is None:  # to all clients; the outcome of a prompt goes to one
                await original(*arguments, **named)
                return
            event = event_parameter.of(arguments, named)
            data = data_parameter.of(arguments, named)

            def send_other(event: Any, data: Any) -> Awaitable[None]:
                changed = event_parameter.replaced(arguments, named, event)
                positional, by_name = data_parameter.replaced(*changed, data)
                return original(*positional, **by_name)

            part = outcome_part(event, data)
            if part is None:
                await original(*arguments, **named)
                if _is_first(event, data, sid):
                    await self.deliver(send_other, server, sid, list(self.pending.get(sid, ())))
                return
            id = data["prompt_id"]
            if part == LAST:  # the client may have missed a node, and be connected again
                await self.deliver(send_other, server, sid, [id])
            await original(*arguments, **named)
            self.record(sid, id, part, is_connected(server, sid))

        return send

    def restore(self, queue: Any) -> None:
        """Mark as pending what ended last in an earlier process, if that was a short while ago."""
        recent: list[tuple[str, str | None]] = []
        since = self.clock() - SECONDS
        with queue.mutex:
            for id in reversed(queue.history):
                entry = queue.history[id]
                when = end_time(entry)
                if 0 < when < since:
                    break
                if when:
                    since = max(since, when - LAST_MOMENTS)
                    recent.append((id, client_id_of(entry)))
        for id, sid in reversed(recent):
            if sid is not None:
                self._of_client(sid, id)[id] = None

    def record(self, sid: str, id: str, part: str, arrived: bool) -> None:
        """Record that an event has been sent, or could not be."""
        if not arrived:
            parts = self._of_client(sid, id).setdefault(id, set())
            if parts is not None:
                parts.add(part)
        elif id in self.pending.get(sid, ()):
            parts = self.pending[sid][id] or set()
            parts.discard(part)
            if part == LAST or not parts:
                self._forget(sid, id)

    async def deliver(self, send: SendEvent, server: Any, sid: str, ids: list[str]) -> None:
        """Send the pending events of prompts that have ended, while the client is connected."""
        queue = server.prompt_queue
        for id in ids:
            if not is_connected(server, sid):
                return
            if id not in self.pending.get(sid, ()):
                continue
            with queue.mutex:  # the history is read from the disk
                entry = queue.history.get(id)
            if entry is None:
                continue  # it still runs, or its history was deleted
            try:
                for event, data in outcome(id, entry, self.pending[sid][id]):
                    await send(event, data)
            except Exception:  # an entry of another pack must not stop other events
                log.exception("Z-Image: the end of %s could not be sent again", id)
            if not is_connected(server, sid):
                return
            self._forget(sid, id)

    def _of_client(self, sid: str, id: str) -> Prompts:
        """Return the pending prompts of a client, after making room for one."""
        prompts = self.pending.setdefault(sid, OrderedDict())
        self.pending.move_to_end(sid)
        if len(self.pending) > CLIENTS:
            self.pending.popitem(last=False)
        if id not in prompts and len(prompts) >= PROMPTS:
            prompts.popitem(last=False)
        return prompts

    def _forget(self, sid: str, id: str) -> None:
        prompts = self.pending.get(sid)
        if prompts is not None:
            prompts.pop(id, None)
            if not prompts:
                del self.pending[sid]


def _is_first(event: Any, data: Any, sid: str) -> bool:
    """Return whether an event is the host's first to a client that has just connected."""
    return event == "status" and data.get("sid") == sid


def is_connected(server: Any, sid: str) -> bool:
    """Return whether a client has a socket that is not being closed."""
    socket = server.sockets.get(sid)
    return socket is not None and not socket.closed

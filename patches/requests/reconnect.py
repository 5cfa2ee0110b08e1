"""A client that comes back hears how its prompts ended meanwhile.

The host sends events to whoever is connected and forgets them; a page that was away for a moment
waits for ever. Here the events that end a prompt (``executed`` of each node, then success or error,
then ``executing`` without a node) are owed to their client until it was connected for them, and
are made again from the history when it connects with the same ``clientId``. A new process cannot
know what had arrived: it owes what ended in the last moments before the old one died.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from ..base.hooks import Argument, HookPoint, Patch
from ..queue.prompt_events import LAST, client, ended, outcome, part_of

log = logging.getLogger(__name__)

SEND = HookPoint("server", "PromptServer.send", ("self", "event", "data", "sid"))
CLIENTS, PROMPTS = 1000, 100
"""Clients that are remembered, and prompts of each; the oldest go first."""
LAST_MOMENTS = 5.0
"""Seconds; what ended earlier had time to arrive, and an old error told twice is a riddle."""
SECONDS = 600.0
"""After which nobody waits for a result any more."""

Send = Callable[..., Awaitable[None]]
Prompts = OrderedDict[str, set[str] | None]
"""By prompt: the parts of its outcome that are owed; None for all of them."""


def create() -> Patch:
    """The patch, with nothing owed yet."""
    return Patch(SEND, PendingEvents().wrap)


class PendingEvents:
    """What which client has not been sent; used in the server's event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.owed: OrderedDict[str, Prompts] = OrderedDict()
        self.begun = False

    def wrap(self, original: Send) -> Send:
        """Around the host's ``send``, which every event goes through."""

        names = ("self", "event", "data", "sid")
        wanted = [Argument(original, name) for name in names]
        _, event_of, data_of, _ = wanted

        async def send(*arguments: Any, **named: Any) -> None:
            server, event, data, sid = (argument.of(arguments, named) for argument in wanted)

            def again(event: Any, data: Any) -> Awaitable[None]:
                """Send another event in the same way, to the same client."""
                changed = event_of.replaced(arguments, named, event)
                positional, by_name = data_of.replaced(*changed, data)
                return original(*positional, **by_name)

            if not self.begun:
                self.begun = True
                self.inherit(server.prompt_queue)
            part = part_of(event, data) if sid is not None else None
            if sid is None or part is None:
                await original(*arguments, **named)
                if sid is not None and event == "status" and data.get("sid") == sid:  # just come
                    await self.pay(again, server, sid, list(self.owed.get(sid, ())))
                return
            id = data["prompt_id"]
            if part == LAST:  # of one that was away for a node and is back
                await self.pay(again, server, sid, [id])
            await original(*arguments, **named)
            self.note(sid, id, part, connected(server, sid))

        return send

    def inherit(self, queue: Any) -> None:
        """Owe what ended last in an earlier process, if that was a short while ago."""
        last, since = [], self.clock() - SECONDS
        with queue.mutex:
            for id in reversed(queue.history):
                entry = queue.history[id]
                when = ended(entry)
                if 0 < when < since:
                    break
                if when:
                    since = max(since, when - LAST_MOMENTS)
                    last.append((id, client(entry)))
        for id, sid in reversed(last):
            if sid is not None:
                self._of(sid, id)[id] = None

    def note(self, sid: str, id: str, part: str, arrived: bool) -> None:
        """Keep in mind that an event has been sent, or could not be."""
        if not arrived:
            owed = self._of(sid, id).setdefault(id, set())
            if owed is not None:
                owed.add(part)
        elif id in self.owed.get(sid, ()):
            owed = self.owed[sid][id] or set()
            owed.discard(part)
            if part == LAST or not owed:
                self._forget(sid, id)

    async def pay(
        self, send: Callable[[Any, Any], Awaitable[None]], server: Any, sid: str, ids: list[str]
    ) -> None:
        """Send what is owed of prompts that have ended."""
        queue = server.prompt_queue
        for id in ids:
            if id not in self.owed.get(sid, ()):
                continue
            with queue.mutex:
                entry = queue.history.get(id)
            if entry is None:
                continue  # it still runs, or its history was deleted
            try:
                for event, data in outcome(id, entry, self.owed[sid][id]):
                    await send(event, data)
            except Exception:  # whoever filled the history: events go on for everybody else
                log.exception("Z-Image: the end of %s could not be told again", id)
            if not connected(server, sid):
                return
            self._forget(sid, id)

    def _of(self, sid: str, id: str) -> Prompts:
        """What is owed to a client, with room for a prompt."""
        prompts = self.owed.setdefault(sid, OrderedDict())
        self.owed.move_to_end(sid)
        if len(self.owed) > CLIENTS:
            self.owed.popitem(last=False)
        if id not in prompts and len(prompts) >= PROMPTS:
            prompts.popitem(last=False)
        return prompts

    def _forget(self, sid: str, id: str) -> None:
        prompts = self.owed.get(sid)
        if prompts is not None:
            prompts.pop(id, None)
            if not prompts:
                del self.owed[sid]


def connected(server: Any, sid: str) -> bool:
    """Whether a client has a socket that is not being closed."""
    socket = server.sockets.get(sid)
    return socket is not None and not socket.closed

"""A WebSocket that stops reading costs nobody else an event.

The host sends to one client after the other and waits for each, so a client that does not read
(a laptop asleep, a debugger) holds up everybody. Here every socket has an outbox and a task of its
own; one whose outbox overflows is closed, and its client comes back when it can.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from ..base.hooks import Argument, HookPoint, Patch

log = logging.getLogger(__name__)

SEND = HookPoint("server", "send_socket_catch_exception", ("function", "message"))
MESSAGES, BYTES = 1000, 32 * 2**20
"""What an outbox holds at most; only binary messages (previews) are weighed."""
BOX = "_zimage_outbox"
"""Attribute of a socket, which costs each event less than a dictionary of sockets."""
TRY_AGAIN_LATER = 1013
"""Close code, RFC 6455 and the IANA registry."""

LOST = "Z-Image: an event could not be sent"

Send = Callable[..., Awaitable[None]]


def create() -> Patch:
    """The patch."""
    return Patch(SEND, _wrap)


def _wrap(original: Send) -> Send:
    sender, told = Argument(original, "function"), Argument(original, "message")

    async def send(*arguments: Any, **named: Any) -> None:
        socket: Any = getattr(sender.of(arguments, named), "__self__", None)
        box = getattr(socket, BOX, None)
        if box is None:
            if not hasattr(socket, "close"):
                return await original(*arguments, **named)
            box = Outbox(original)
            setattr(socket, BOX, box)
        if not box.put(told.of(arguments, named), arguments, named):
            log.warning("Z-Image: a WebSocket client does not read; its connection is closed")
            box.stop(socket.close(code=TRY_AGAIN_LATER))
        return None

    return send


class Outbox:
    """What waits to be sent to one client, in order; a task exists while something waits."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.waiting: deque[tuple[int, tuple[Any, ...], dict[str, Any]]] = deque()
        self.bytes = 0
        self.stopped = False
        self.task: asyncio.Task[Any] | None = None

    def put(self, message: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Take a message, as the arguments of the host's function; False when there is no room.

        A stopped one takes and drops all.

        With nothing before it, it is sent at once: almost always the socket takes it, and a task
        for each event would cost every prompt some turns of the loop.
        """
        if self.stopped:
            return True
        if self.task is None:
            sending: Any = self.send(*arguments, **named)
            try:
                first = sending.send(None)
            except StopIteration:
                return True
            except Exception:
                log.exception(LOST)
                return True
            self.task = asyncio.create_task(self._run(_rest(sending, first)))
            return True
        if len(self.waiting) >= MESSAGES or self.bytes > BYTES:
            return False
        size = _size(message)
        self.bytes += size
        self.waiting.append((size, arguments, named))
        return True

    def stop(self, farewell: Any) -> None:
        """Send nothing more but a last coroutine, beside everything else."""
        if self.task is not None:
            self.task.cancel()
        self.stopped = True
        self.waiting.clear()
        self.task = asyncio.create_task(farewell)

    async def _run(self, begun: Awaitable[None]) -> None:
        await _told(begun)
        while self.waiting:
            size, arguments, named = self.waiting.popleft()
            await _told(self.send(*arguments, **named))
            self.bytes -= size
        self.task = None


async def _told(sending: Awaitable[None]) -> None:
    try:
        await sending
    except Exception:
        log.exception(LOST)


@types.coroutine
def _rest(begun: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:
    """What is left of a coroutine that has run until it had to wait, for somebody to await."""
    while True:
        try:
            value = yield waits_for
        except BaseException as error:  # noqa: BLE001 - handed on to the coroutine
            step = functools.partial(begun.throw, error)
        else:
            step = functools.partial(begun.send, value)
        try:
            waits_for = step()
        except StopIteration:
            return


def _size(message: Any) -> int:
    return len(message) if isinstance(message, (bytes, bytearray)) else 0

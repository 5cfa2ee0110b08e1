"""A WebSocket client that stops reading does not block the others.

The host sends to one client after the other and waits for each, so a client that does not read
(a laptop asleep, a debugger) blocks all of them. Here every socket has its own outbox and task; a
socket whose outbox overflows is closed, and its client connects again when it can.
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
from ..base.registry import About

log = logging.getLogger(__name__)

SEND = HookPoint("server", "send_socket_catch_exception", ("function", "message"))
MESSAGES = 1000
"""An outbox that holds this many takes no further message."""
BYTES = 32 * 2**20
"""An outbox that holds more takes no further message. Only binary messages (previews) count."""
BOX = "_zimage_outbox"
"""Attribute of a socket; faster for each event than a dictionary of sockets."""
TRY_AGAIN_LATER = 1013
"""Close code of RFC 6455 and the IANA registry."""

SEND_FAILED = "Z-Image: an event could not be sent"

Send = Callable[..., Awaitable[None]]

ABOUT = About(
    part="sockets",
    bare_host="A WebSocket client that does not read blocks all others.",
    here="Each client has an outbox. A client whose outbox is full is disconnected.",
)


def create() -> Patch:
    """Return the patch."""
    return Patch(SEND, _wrap)


def _wrap(original: Send) -> Send:
    sender = Argument(original, "function")
    message = Argument(original, "message")

    async def send(*arguments: Any, **named: Any) -> None:
        # The host passes the bound method of a socket, such as ``socket.send_json``.
        socket: Any = getattr(sender.of(arguments, named), "__self__", None)
        box = getattr(socket, BOX, None)
        if box is None:
            if not hasattr(socket, "close"):
                return await original(*arguments, **named)
            box = Outbox(original)
            setattr(socket, BOX, box)
        if not box.put(message.of(arguments, named), arguments, named):
            log.warning("Z-Image: a WebSocket client does not read; its connection is closed")
            box.stop(socket.close(code=TRY_AGAIN_LATER))
        return None

    return send


class Outbox:
    """The messages that wait for one client, in order. A task sends them while there are any."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.waiting: deque[tuple[int, tuple[Any, ...], dict[str, Any]]] = deque()
        self.bytes = 0
        self.stopped = False
        self.task: asyncio.Task[Any] | None = None

    def put(self, message: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Send a message, or queue it; return False when the outbox is full.

        A message that has none before it is sent directly: the socket nearly always accepts it, and
        a task for each event would delay every prompt by some turns of the event loop. A stopped
        outbox drops all messages.

        Args:
            message: what is sent.
            arguments: of the host's function.
            named: of the host's function.
        """
        if self.stopped:
            return True
        if self.task is None:
            sending: Any = self.send(*arguments, **named)
            try:
                awaited = sending.send(None)  # runs it until its first wait, or its end
            except StopIteration:
                return True
            except Exception:
                log.exception(SEND_FAILED)
                return True
            self.task = asyncio.create_task(self._run(_resume(sending, awaited)))
            return True
        if len(self.waiting) >= MESSAGES or self.bytes > BYTES:
            return False
        size = _size(message)
        self.bytes += size
        self.waiting.append((size, arguments, named))
        return True

    def stop(self, closing: Coroutine[Any, Any, Any]) -> None:
        """Drop what waits, and run a last coroutine that closes the socket."""
        if self.task is not None:
            self.task.cancel()
        self.stopped = True
        self.waiting.clear()
        self.task = asyncio.create_task(closing)

    async def _run(self, started: Awaitable[None]) -> None:
        await _send_logged(started)
        while self.waiting:
            size, arguments, named = self.waiting.popleft()
            await _send_logged(self.send(*arguments, **named))
            self.bytes -= size
        self.task = None


async def _send_logged(sending: Awaitable[None]) -> None:
    try:
        await sending
    except Exception:
        log.exception(SEND_FAILED)


@types.coroutine
def _resume(started: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Continue a coroutine that has run until its first wait.

    ``await started`` cannot do this: it drops what the coroutine already waits for. As ``await``
    does, this passes results and errors of each wait to the coroutine.

    Args:
        started: the coroutine.
        awaited: what it has yielded.
    """
    while True:
        try:
            value = yield awaited
        except BaseException as error:  # noqa: BLE001 - passed to the coroutine
            step = functools.partial(started.throw, error)
        else:
            step = functools.partial(started.send, value)
        try:
            awaited = step()
        except StopIteration:
            return


def _size(message: Any) -> int:
    return len(message) if isinstance(message, (bytes, bytearray)) else 0

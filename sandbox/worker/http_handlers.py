"""What a pack answers to requests, in its process: its own router, and responses read in full."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import aiohttp.web_fileresponse
from aiohttp import StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ..protocol.http_messages import LARGEST_RESPONSE_BYTES

log = logging.getLogger("zimage.sandbox")

LARGEST_REQUEST = 33 * 2**20
STATIC = (web.StaticResource,)


class StreamRefusedError(Exception):
    """An answer that has no end, which cannot be passed on in one piece."""


class TooLargeError(Exception):
    """An answer of more than :data:`LARGEST_RESPONSE_BYTES` bytes."""


class Handlers:
    """The routes that a pack has registered.

    Args:
        server: ComfyUI's server, which is never started.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self.app: web.Application = server.app
        self._hosts = len(server.routes)
        self._tasks: dict[int, asyncio.Task[Any] | None] = {}
        self._unwanted: set[int] = set()
        self._asked: deque[int] = deque(maxlen=4096)
        # Files are read, since there is no socket that the kernel could copy them to.
        aiohttp.web_fileresponse.NOSENDFILE = True  # type: ignore[misc]

    def collect(self) -> None:
        """Take what the pack has put into the server's table; ``app`` has the rest already."""
        for one in list(self._server.routes)[self._hosts :]:
            try:
                one.register(self.app.router)
            except (ValueError, RuntimeError) as error:
                log.warning("%r: %s", one, error)

    def paths(self) -> list[tuple[str, str]]:
        """Method and path of each, a path as it was registered."""
        found = []
        for resource in self.app.router.resources():
            if isinstance(resource, web.PlainResource | web.DynamicResource):
                path = getattr(resource, "_orig_path", resource.canonical)
                found += [(route.method, path) for route in resource]
            elif not isinstance(resource, STATIC):
                found.append((hdrs.METH_ANY, resource.canonical.rstrip("/") + "/{rest:.*}"))
        return found

    def folders(self) -> dict[str, str]:
        """Folders that are served as they are, by the beginning of their paths."""
        resources = self.app.router.resources()
        return {
            one.canonical: str(one.get_info()["directory"])
            for one in resources
            if isinstance(one, STATIC)
        }

    def answer(
        self, number: int, asked: dict[str, Any]
    ) -> Coroutine[Any, Any, dict[str, Any] | None]:
        """The answer to a request, None if the pack has no route for it.

        Args:
            number: of the call, by which it can be cancelled.
            asked: ``method``, ``target`` (path and query), ``headers`` and ``body``.

        Raises:
            Exception: what the handler raised.
        """
        self._asked.append(number)
        self._tasks[number] = None  # it can be cancelled before it begins
        return self._answer(number, asked)

    async def _answer(self, number: int, asked: dict[str, Any]) -> dict[str, Any] | None:
        self._server.loop = asyncio.get_running_loop()  # for handlers that schedule something
        writer = Writer()
        request = make_request(asked, writer)
        self._tasks[number] = asyncio.current_task()
        try:
            if number in self._unwanted:
                raise asyncio.CancelledError
            found = await self.app.router.resolve(request)
            if found.http_exception is not None:
                return None
            found.add_app(self.app)
            request._match_info = found
            response = await _response(found.handler, request)
            await response.prepare(request)
            await response.write_eof()
            return writer.result(response)
        finally:
            del self._tasks[number]
            self._unwanted.discard(number)
            request._finish()  # removes uploaded files, as aiohttp's own server does

    def cancel(self, number: int) -> bool:
        """Stop answering if it has not ended; False if that call is no request."""
        if number not in self._tasks:
            return number in self._asked
        self._unwanted.add(number)
        if (task := self._tasks.get(number)) is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended, with its loop
                task.get_loop().call_soon_threadsafe(task.cancel)
        return True


async def _response(handler: Any, request: web.Request) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        return error
    if not isinstance(response, web.StreamResponse):
        raise TypeError(f"a handler gave {type(response).__name__}, no response")
    return response


class Writer(AbstractStreamWriter):
    """Keeps what a response writes."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.length = None
        self._left_plain = False

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """See :class:`AbstractStreamWriter`."""
        if len(self.body) + len(chunk) > LARGEST_RESPONSE_BYTES:
            raise TooLargeError(f"more than {LARGEST_RESPONSE_BYTES} bytes")
        self.body += chunk
        self.output_size = self.buffer_size = len(self.body)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """See :class:`AbstractStreamWriter`."""
        await self.write(chunk)

    async def drain(self) -> None:
        """There is nothing to wait for."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Not here: the header that announces it is taken back in :meth:`result`."""
        self._left_plain = True

    def enable_chunking(self) -> None:
        """The length is known at the end."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Refuse what never ends, before it begins."""
        if headers.get(hdrs.CONTENT_TYPE, "").startswith("text/event-stream"):
            raise StreamRefusedError("text/event-stream")

    def result(self, response: web.StreamResponse) -> dict[str, Any]:
        """The response as plain values."""
        headers = [[str(name), str(value)] for name, value in response.headers.items()]
        if self._left_plain:
            headers = [one for one in headers if one[0].lower() != "content-encoding"]
        return {"status": response.status, "headers": headers, "body": bytes(self.body)}


class Connection(BaseProtocol):
    """As much of a connection as a request asks of its own."""

    peername = sockname = ssl_context = writer = None
    max_field_size, max_line_size, max_headers = 8190, 8190, 128


def make_request(asked: dict[str, Any], writer: AbstractStreamWriter) -> web.Request:
    """A request whose body is there already."""
    loop = asyncio.get_running_loop()
    headers = CIMultiDict((str(name), str(value)) for name, value in asked["headers"])
    connection: Any = Connection(loop)
    payload = StreamReader(connection, 2**30, loop=loop)
    if asked["body"]:
        payload.feed_data(asked["body"])
    payload.feed_eof()
    message = RawRequestMessage(
        asked["method"],
        asked["target"],
        HttpVersion11,
        CIMultiDictProxy(headers),
        tuple((name.encode(), value.encode()) for name, value in headers.items()),
        False,
        None,
        False,
        False,
        URL(asked["target"], encoded=True),
    )
    task: Any = asyncio.current_task() or SimpleNamespace()
    return web.Request(
        message, payload, connection, writer, task, loop, client_max_size=LARGEST_REQUEST
    )

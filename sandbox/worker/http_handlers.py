"""A pack's HTTP handlers in its worker: its own router, and responses read in full."""

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
"""Bytes; the host forwards smaller ones only."""


class StreamRefusedError(Exception):
    """A response without an end, which cannot be sent in one piece."""


class TooLargeError(Exception):
    """A response body of more than :data:`LARGEST_RESPONSE_BYTES` bytes."""


class HttpHandlers:
    """The routes that a pack has registered.

    Args:
        server: ComfyUI's server, which is never started.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self.app: web.Application = server.app
        self._own_routes = len(server.routes)
        self._tasks: dict[int, asyncio.Task[Any] | None] = {}
        self._cancelled: set[int] = set()
        self._recent: deque[int] = deque(maxlen=4096)
        # aiohttp must read files: there is no socket that the kernel could copy them to.
        aiohttp.web_fileresponse.NOSENDFILE = True  # type: ignore[misc]

    def collect(self) -> None:
        """Register the routes that the pack added to the server's table; ``app`` has the others."""
        for route in list(self._server.routes)[self._own_routes :]:
            try:
                route.register(self.app.router)
            except (ValueError, RuntimeError) as error:
                log.warning("%r: %s", route, error)

    def paths(self) -> list[tuple[str, str]]:
        """Return method and path of each route, the path as the pack registered it."""
        routes = []
        for resource in self.app.router.resources():
            if isinstance(resource, web.PlainResource | web.DynamicResource):
                path = getattr(resource, "_orig_path", resource.canonical)
                routes += [(route.method, path) for route in resource]
            elif not isinstance(resource, web.StaticResource):
                routes.append((hdrs.METH_ANY, resource.canonical.rstrip("/") + "/{rest:.*}"))
        return routes

    def folders(self) -> dict[str, str]:
        """Return the folders that are served as they are, by the prefix of their paths."""
        return {
            resource.canonical: str(resource.get_info()["directory"])
            for resource in self.app.router.resources()
            if isinstance(resource, web.StaticResource)
        }

    def answer(
        self, number: int, message: dict[str, Any]
    ) -> Coroutine[Any, Any, dict[str, Any] | None]:
        """Return a coroutine for the response; None if the pack has no route for the request.

        Args:
            number: of the call, by which it can be cancelled.
            message: ``method``, ``target`` (path and query), ``headers`` and ``body``.

        Raises:
            Exception: what the handler raised.
        """
        self._recent.append(number)
        self._tasks[number] = None  # it can be cancelled before it starts
        return self._answer(number, message)

    async def _answer(self, number: int, message: dict[str, Any]) -> dict[str, Any] | None:
        self._server.loop = asyncio.get_running_loop()  # for handlers that schedule tasks
        writer = BufferWriter()
        request = make_request(message, writer)
        self._tasks[number] = asyncio.current_task()
        try:
            if number in self._cancelled:
                raise asyncio.CancelledError
            match = await self.app.router.resolve(request)
            if match.http_exception is not None:
                return None
            match.add_app(self.app)
            request._match_info = match
            response = await _response(match.handler, request)
            await response.prepare(request)
            await response.write_eof()
            return writer.result(response)
        finally:
            del self._tasks[number]
            self._cancelled.discard(number)
            request._finish()  # deletes uploaded files, as aiohttp's own server does

    def cancel(self, number: int) -> bool:
        """Cancel a request that has not ended; return False if that call is no request."""
        if number not in self._tasks:
            return number in self._recent
        self._cancelled.add(number)
        if (task := self._tasks.get(number)) is not None:
            with contextlib.suppress(RuntimeError):  # its loop has just been closed
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


class BufferWriter(AbstractStreamWriter):
    """A writer that stores a response in memory."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.length = None
        self._is_uncompressed = False

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append to the body.

        Raises:
            TooLargeError: the body is too large.
        """
        if len(self.body) + len(chunk) > LARGEST_RESPONSE_BYTES:
            raise TooLargeError(f"more than {LARGEST_RESPONSE_BYTES} bytes")
        self.body += chunk
        self.output_size = self.buffer_size = len(self.body)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Append the last bytes."""
        await self.write(chunk)

    async def drain(self) -> None:
        """Return at once: nothing is sent."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Do not compress; :meth:`result` removes the header that announces it."""
        self._is_uncompressed = True

    def enable_chunking(self) -> None:
        """Do nothing: the length is known at the end."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Refuse a stream of events before it starts.

        Raises:
            StreamRefusedError: it is one.
        """
        if headers.get(hdrs.CONTENT_TYPE, "").startswith("text/event-stream"):
            raise StreamRefusedError("text/event-stream")

    def result(self, response: web.StreamResponse) -> dict[str, Any]:
        """Return the response as plain values."""
        headers = [[str(name), str(value)] for name, value in response.headers.items()]
        if self._is_uncompressed:
            headers = [header for header in headers if header[0].lower() != "content-encoding"]
        return {"status": response.status, "headers": headers, "body": bytes(self.body)}


class Connection(BaseProtocol):
    """The attributes of a connection that a request reads."""

    peername = sockname = ssl_context = writer = None
    max_field_size = 8190
    max_line_size = 8190
    max_headers = 128


def make_request(message: dict[str, Any], writer: AbstractStreamWriter) -> web.Request:
    """Return a request whose body is complete."""
    loop = asyncio.get_running_loop()
    headers = CIMultiDict((str(name), str(value)) for name, value in message["headers"])
    connection: Any = Connection(loop)
    payload = StreamReader(connection, 2**30, loop=loop)
    if message["body"]:
        payload.feed_data(message["body"])
    payload.feed_eof()
    raw = RawRequestMessage(
        message["method"],
        message["target"],
        HttpVersion11,
        CIMultiDictProxy(headers),
        tuple((name.encode(), value.encode()) for name, value in headers.items()),
        False,
        None,
        False,
        False,
        URL(message["target"], encoded=True),
    )
    task: Any = asyncio.current_task() or SimpleNamespace()
    return web.Request(
        raw, payload, connection, writer, task, loop, client_max_size=LARGEST_REQUEST
    )

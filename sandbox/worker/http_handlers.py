"""Call a pack's HTTP handlers in its worker, through its own router; read responses in full."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Coroutine
from functools import partial, update_wrapper
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

LARGEST_REQUEST_BYTES = 33 * 2**20
"""Largest body that a handler can read; the host forwards only smaller ones."""
NEVER_PAUSED = 2**30
"""Buffered bytes at which aiohttp would stop reading; here the whole body is fed at once."""


class StreamRefusedError(Exception):
    """A stream of events: it has no end, so it cannot be sent in one message."""


class TooLargeError(Exception):
    """A response body of more than :data:`LARGEST_RESPONSE_BYTES` bytes."""


class HttpHandlers:
    """The routes that a pack has registered.

    Args:
        server: ComfyUI's server, which is never started. Its table of routes has only those of
            ComfyUI at this time.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self.app: web.Application = server.app
        self._comfyui_routes = len(server.routes)
        self._tasks: dict[int, asyncio.Task[Any] | None] = {}
        self._cancelled: set[int] = set()
        self._recent: deque[int] = deque(maxlen=4096)
        # Without a socket, aiohttp cannot use sendfile() and must read files itself.
        aiohttp.web_fileresponse.NOSENDFILE = True  # type: ignore[misc]

    def collect(self) -> None:
        """Register the routes that the pack added to the server's table.

        Routes that it added to the application are registered already. ComfyUI's own are not
        registered, since the host handles them.
        """
        for route in list(self._server.routes)[self._comfyui_routes :]:
            try:
                route.register(self.app.router)
            except (ValueError, RuntimeError) as error:
                log.warning("%r: %s", route, error)
        # aiohttp sends only frozen signals. It freezes those of a sub-application in add_subapp().
        self.app.on_response_prepare.freeze()

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
        """Return the folders of static routes by path prefix."""
        return {
            resource.canonical: str(resource.get_info()["directory"])
            for resource in self.app.router.resources()
            if isinstance(resource, web.StaticResource)
        }

    def answer(
        self, number: int, message: dict[str, Any]
    ) -> Coroutine[Any, Any, dict[str, Any] | None]:
        """Return a coroutine that calls the handler of a request.

        The coroutine returns the response as :meth:`BufferWriter.result` does, or None if the pack
        has no route for the request. From now on, :meth:`cancel` can cancel it.

        Args:
            number: number of the call.
            message: ``method``, ``target`` (path and query), ``headers`` and ``body``.

        Raises:
            Exception: raised by the coroutine, whatever the handler raised.
            StreamRefusedError: raised by the coroutine for a stream of events.
            TooLargeError: raised by the coroutine for a body above the limit.
        """
        self._recent.append(number)
        self._tasks[number] = None  # the task does not exist before the coroutine runs
        return self._answer(number, message)

    async def _answer(self, number: int, message: dict[str, Any]) -> dict[str, Any] | None:
        self._tasks[number] = asyncio.current_task()
        try:
            if number in self._cancelled:
                raise asyncio.CancelledError
            return await self._handle(message)
        finally:
            del self._tasks[number]
            self._cancelled.discard(number)

    async def _handle(self, message: dict[str, Any]) -> dict[str, Any] | None:
        self._server.loop = asyncio.get_running_loop()  # for handlers that schedule tasks
        writer = BufferWriter()
        request = make_request(message, writer)
        try:
            match = await self.app.router.resolve(request)
            if match.http_exception is not None:
                return None
            match.add_app(self.app)
            request._match_info = match
            response = await _response(match, request)
            await response.prepare(request)
            await response.write_eof()
            return writer.result(response)
        finally:
            request._finish()  # deletes uploaded files, as aiohttp's own server does

    def cancel(self, number: int) -> bool:
        """Cancel a request if it has not ended.

        Returns:
            Whether the call is a request, or was one of the latest requests.
        """
        if number not in self._tasks:
            return number in self._recent
        self._cancelled.add(number)
        if (task := self._tasks.get(number)) is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                task.get_loop().call_soon_threadsafe(task.cancel)
        return True


async def _response(match: web.UrlMappingMatchInfo, request: web.Request) -> web.StreamResponse:
    """Return the response of a handler; an HTTP exception is a response, too."""
    try:
        handler = await _with_middlewares(match)
        response = await handler(request)
    except web.HTTPException as error:
        return error
    if not isinstance(response, web.StreamResponse):
        found = type(response).__name__
        raise TypeError(f"the handler returned {found}, expected aiohttp's StreamResponse")
    return response


async def _with_middlewares(match: web.UrlMappingMatchInfo) -> Any:
    """Return the handler of a route, wrapped in the middlewares of its sub-applications.

    The first application is ComfyUI's, whose middlewares run in the host.
    """
    handler: Any = match.handler
    for app in reversed(match.apps[1:]):
        # In the order of wrapping, from the middleware that was added last.
        middlewares: Any = app._middlewares_handlers
        for middleware, is_new_style in middlewares:
            if is_new_style:
                # Middlewares can read attributes of the handler, such as its name.
                handler = update_wrapper(partial(middleware, handler=handler), handler)
            else:
                handler = await middleware(app, handler)
    return handler


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
        size = len(self.body) + memoryview(chunk).nbytes  # an item can have several bytes
        if size > LARGEST_RESPONSE_BYTES:
            raise TooLargeError(f"{size} bytes, at most {LARGEST_RESPONSE_BYTES}")
        self.body += chunk
        self.buffer_size = size
        self.output_size = size

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Append the last bytes.

        Raises:
            TooLargeError: the body is too large.
        """
        await self.write(chunk)

    async def drain(self) -> None:
        """Return at once: nothing is sent."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Do not compress; :meth:`result` removes the header that announces it."""
        self._is_uncompressed = True

    def enable_chunking(self) -> None:
        """Do nothing: the length is known at the end."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Refuse a stream of events before it starts. Headers are not stored here.

        Raises:
            StreamRefusedError: the content type is ``text/event-stream``.
        """
        if headers.get(hdrs.CONTENT_TYPE, "").lower().startswith("text/event-stream"):
            raise StreamRefusedError("text/event-stream")

    def result(self, response: web.StreamResponse) -> dict[str, Any]:
        """Return ``{"status": int, "headers": [[name, value], …], "body": bytes}``."""
        headers = [[str(name), str(value)] for name, value in response.headers.items()]
        if self._is_uncompressed:
            headers = [header for header in headers if header[0].lower() != "content-encoding"]
        return {"status": response.status, "headers": headers, "body": bytes(self.body)}


class Connection(BaseProtocol):
    """The attributes of a connection that a request reads, with aiohttp's defaults for limits."""

    peername = sockname = ssl_context = writer = None
    max_field_size = 8190
    max_line_size = 8190
    max_headers = 128


def make_request(message: dict[str, Any], writer: AbstractStreamWriter) -> web.Request:
    """Return a request with its whole body.

    Args:
        message: see :meth:`HttpHandlers.answer`.
        writer: takes the response.

    Raises:
        ValueError: the target is not a URL.
    """
    loop = asyncio.get_running_loop()
    headers = CIMultiDict((str(name), str(value)) for name, value in message["headers"])
    connection: Any = Connection(loop)
    payload = StreamReader(connection, NEVER_PAUSED, loop=loop)
    if message["body"]:
        payload.feed_data(message["body"])
    payload.feed_eof()
    raw = RawRequestMessage(
        method=message["method"],
        path=message["target"],
        version=HttpVersion11,
        headers=CIMultiDictProxy(headers),
        raw_headers=tuple((_bytes(name), _bytes(value)) for name, value in headers.items()),
        should_close=False,
        compression=None,
        upgrade=False,
        chunked=False,
        url=URL(message["target"], encoded=True),
    )
    task: Any = asyncio.current_task() or SimpleNamespace()
    return web.Request(
        raw, payload, connection, writer, task, loop, client_max_size=LARGEST_REQUEST_BYTES
    )


def _bytes(header: str) -> bytes:
    """Return the bytes of a header's name or value, which aiohttp decoded in the host."""
    return header.encode("utf-8", "surrogateescape")

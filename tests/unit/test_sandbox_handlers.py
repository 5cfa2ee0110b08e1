"""A pack's HTTP handlers in its worker, and the filter for their responses in the host."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import FormData, web
from multidict import CIMultiDict

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.sandbox.web import header_filter
from zimage_comfyui.sandbox.worker import http_handlers


@pytest.fixture
def server() -> Any:
    """ComfyUI's server as a pack in a worker sees it, with one route of ComfyUI."""
    table = web.RouteTableDef()
    table.get("/of-the-host")(_never)
    return SimpleNamespace(app=web.Application(), routes=table, loop=None)


async def _never(_request: web.Request) -> web.Response:
    raise AssertionError


def ask(
    handlers: http_handlers.HttpHandlers,
    method: str,
    target: str,
    body: bytes = b"",
    **headers: str,
) -> dict[str, Any]:
    """Return the response of a pack's handlers, through its own router."""
    pairs = [*map(list, headers.items())]
    message = {"method": method, "target": target, "body": body, "headers": pairs}
    return asyncio.run(handlers.answer(1, message))


def test_a_handler_gets_the_whole_request(server: Any) -> None:
    """A handler gets query, parts of the path, text, JSON and forms, and the running loop."""
    handlers = http_handlers.HttpHandlers(server)

    @server.routes.post("/a/{name}/{rest:.+}")
    async def both(request: web.Request) -> web.Response:
        about = {**request.match_info, **request.query, "body": await request.text()}
        assert server.loop is asyncio.get_running_loop()
        return web.json_response(about | {"path": request.path, "json": await request.json()})

    @server.routes.post("/form")
    async def form(request: web.Request) -> web.Response:
        posted = await request.post()
        file: Any = posted["file"]
        return web.json_response({"text": posted["text"], "file": file.file.read().decode()})

    handlers.collect()
    answer = ask(handlers, "POST", "/a/%E4%B8%AD/c/d?q=%20x", b"[1]")
    assert json.loads(answer["body"]) == {
        "name": "中", "rest": "c/d", "q": " x", "body": "[1]", "path": "/a/中/c/d", "json": [1]
    }  # fmt: skip
    assert answer["status"] == 200
    assert ["Content-Type", "application/json; charset=utf-8"] in answer["headers"]
    data = FormData({"text": "t"})
    data.add_field("file", b"inside", filename="f.txt")
    payload = data()
    kind = payload.headers["Content-Type"]
    answer = ask(
        handlers, "POST", "/form", asyncio.run(_written(payload)), **{"Content-Type": kind}
    )
    assert json.loads(answer["body"]) == {"text": "t", "file": "inside"}


def test_a_handler_gets_headers_that_are_not_utf8(server: Any) -> None:
    """A handler gets the original bytes of a header that is not UTF-8, and its decoded text."""
    handlers = http_handlers.HttpHandlers(server)
    name = b"X-\xe9".decode("utf-8", "surrogateescape")
    value = b"na\xe9 \xe4\xb8\xad".decode("utf-8", "surrogateescape")

    async def answer(request: web.Request) -> web.Response:
        assert request.headers[name] == value
        assert request.raw_headers == ((b"X-\xe9", b"na\xe9 \xe4\xb8\xad"),)
        return web.Response(text="answer")

    server.app.router.add_get("/a", answer)
    handlers.collect()
    assert ask(handlers, "GET", "/a", b"", **{name: value})["body"] == b"answer"


async def _written(payload: Any) -> bytes:
    writer = http_handlers.BufferWriter()
    await payload.write(writer)
    return bytes(writer.body)


def test_every_kind_of_response_is_read(server: Any, tmp_path: Path) -> None:
    """Files and parts of them, streams with an end, and HTTP exceptions become plain values."""
    (tmp_path / "f.txt").write_text("0123456789")
    handlers = http_handlers.HttpHandlers(server)

    async def file(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(tmp_path / "f.txt")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        await response.write(b"one ")
        await response.write(b"two")
        return response

    async def elsewhere(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/there")

    server.app.router.add_get("/file", file)
    server.app.router.add_get("/stream", stream)
    server.app.router.add_get("/elsewhere", elsewhere)
    handlers.collect()
    assert ask(handlers, "GET", "/file")["body"] == b"0123456789"
    part = ask(handlers, "GET", "/file", Range="bytes=2-4")
    assert (part["status"], part["body"]) == (206, b"234")
    assert ask(handlers, "HEAD", "/file")["body"] == b""
    streamed = ask(handlers, "GET", "/stream", **{"Accept-Encoding": "gzip"})
    assert streamed["body"] == b"one two"
    assert "content-encoding" not in {name.lower() for name, _ in streamed["headers"]}
    moved = ask(handlers, "GET", "/elsewhere")
    assert moved["status"] == 302
    assert ["Location", "/there"] in moved["headers"]
    assert ask(handlers, "GET", "/of-the-host") is None
    assert ask(handlers, "POST", "/file") is None


def test_a_response_without_an_end_is_refused(server: Any) -> None:
    """Streams of events are refused at once, and too large bodies at the limit."""
    handlers = http_handlers.HttpHandlers(server)

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        return response

    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(2**20))

    async def never(_request: web.Request) -> web.Response:
        assert handlers.cancel(1)
        await asyncio.Event().wait()
        raise AssertionError

    for path, handler in (("/events", events), ("/large", large), ("/never", never)):
        server.app.router.add_get(path, handler)
    with pytest.raises(http_handlers.StreamRefusedError):
        ask(handlers, "GET", "/events")
    with pytest.raises(http_handlers.TooLargeError):
        ask(handlers, "GET", "/large")
    with pytest.raises(asyncio.CancelledError):
        ask(handlers, "GET", "/never")
    assert handlers.cancel(1)  # too late: it has ended
    assert not handlers.cancel(2)


def test_limit_of_a_body_counts_bytes_not_items() -> None:
    """A view whose items have eight bytes is refused at the limit of bytes."""
    items = memoryview(bytearray(64 * 2**20 + 8)).cast("d")
    with pytest.raises(http_handlers.TooLargeError):
        asyncio.run(http_handlers.BufferWriter().write(items))


@pytest.mark.parametrize("name", ["text/event-stream", "Text/Event-Stream; charset=utf-8"])
def test_a_stream_of_events_is_known_by_its_content_type(name: str) -> None:
    """The case of the content type and its parameters do not matter."""
    headers = CIMultiDict({"Content-Type": name})
    with pytest.raises(http_handlers.StreamRefusedError):
        asyncio.run(http_handlers.BufferWriter().write_headers("", headers))


def test_a_request_that_cannot_be_made_is_not_kept(server: Any) -> None:
    """A request with an impossible target raises, and its number is free for a later one."""
    handlers = http_handlers.HttpHandlers(server)
    for _ in range(2):
        with pytest.raises(ValueError, match="Invalid IPv6 URL"):
            ask(handlers, "GET", "http://[")
        assert not handlers._tasks


def test_a_request_can_be_cancelled_before_it_starts(server: Any) -> None:
    """A request that is cancelled before its coroutine runs never reaches the handler."""
    handlers = http_handlers.HttpHandlers(server)
    server.app.router.add_get("/never", _never)
    asked = {"method": "GET", "target": "/never", "body": b"", "headers": []}

    async def run() -> None:
        answer = handlers.answer(5, asked)
        assert handlers.cancel(5)
        await answer

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


def test_routes_and_folders_of_a_pack_are_listed(server: Any, tmp_path: Path) -> None:
    """Routes of table and application are listed with their paths as written, folders apart."""
    handlers = http_handlers.HttpHandlers(server)
    server.routes.get("/a/{x:[a-z]+}", allow_head=False)(_never)
    server.routes.static("/s", tmp_path)
    server.app.router.add_route("*", "/b", _never)
    server.app.add_routes([web.static("/t", tmp_path)])
    sub = web.Application()
    sub.router.add_get("/c", _never)
    server.app.add_subapp("/sub", sub)
    handlers.collect()
    assert sorted(handlers.paths()) == [
        ("*", "/b"),
        ("*", "/sub/{rest:.*}"),
        ("GET", "/a/{x:[a-z]+}"),
    ]
    assert handlers.folders() == {"/s": str(tmp_path), "/t": str(tmp_path)}


def test_a_middleware_of_a_sub_application_can_deny_a_request(server: Any) -> None:
    """A request that a middleware denies does not reach the handler of the sub-application."""
    handlers = http_handlers.HttpHandlers(server)

    @web.middleware
    async def deny(request: web.Request, handler: Any) -> web.StreamResponse:
        raise web.HTTPForbidden(reason=f"{handler.__name__} of {request.path}")

    inner = web.Application()
    inner.router.add_get("/b", _never)
    outer = web.Application(middlewares=[deny])
    outer.router.add_get("/a", _never)
    outer.add_subapp("/inner", inner)
    server.app.add_subapp("/outer", outer)
    handlers.collect()
    assert ask(handlers, "GET", "/outer/a")["status"] == 403
    assert ask(handlers, "GET", "/outer/inner/b")["status"] == 403


@pytest.mark.filterwarnings("ignore:old-style middleware:DeprecationWarning")
def test_middlewares_of_sub_applications_run_from_the_outermost(server: Any) -> None:
    """Middlewares run in the order of aiohttp, with their application as the current one."""
    handlers = http_handlers.HttpHandlers(server)
    calls: list[tuple[str, str, Any]] = []

    def new_style(name: str) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
            calls.append((name, handler.__name__, request.app))
            response: web.StreamResponse = await handler(request)
            return response

        return middleware

    async def old_style(_app: web.Application, handler: Any) -> Any:
        async def middleware(request: web.Request) -> web.StreamResponse:
            calls.append(("old", handler.__name__, request.app))
            response: web.StreamResponse = await handler(request)
            return response

        return middleware

    async def answer(request: web.Request) -> web.Response:
        calls.append(("handler", "", request.app))
        return web.Response(text="answer")

    inner = web.Application(middlewares=[new_style("third"), new_style("fourth")])
    inner.router.add_get("/a", answer)
    outer = web.Application(middlewares=[old_style, new_style("second")])
    outer.add_subapp("/inner", inner)
    server.app.add_subapp("/outer", outer)
    handlers.collect()
    assert ask(handlers, "GET", "/outer/inner/a")["body"] == b"answer"
    assert calls == [
        ("old", "answer", outer),
        ("second", "answer", outer),
        ("third", "answer", inner),
        ("fourth", "answer", inner),
        ("handler", "", inner),
    ]


def test_callbacks_before_a_response_are_called(server: Any) -> None:
    """Callbacks in ``on_response_prepare`` of application and sub-application set headers."""
    handlers = http_handlers.HttpHandlers(server)

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="answer")

    async def set_outer(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Outer"] = "1"

    async def set_inner(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Inner"] = "2"

    inner = web.Application()
    inner.router.add_get("/a", answer)
    inner.on_response_prepare.append(set_inner)
    server.app.add_subapp("/inner", inner)
    server.app.on_response_prepare.append(set_outer)
    handlers.collect()
    response = ask(handlers, "GET", "/inner/a")
    assert response["body"] == b"answer"
    assert ["X-Outer", "1"] in response["headers"]
    assert ["X-Inner", "2"] in response["headers"]


@pytest.mark.parametrize(
    "message",
    [
        None, [], {}, {"status": 200}, {"status": 200, "headers": [], "body": b"", "more": 1},
        {"status": "200", "headers": [], "body": b""}, {"status": 101, "headers": [], "body": b""},
        {"status": True, "headers": [], "body": b""}, {"status": 600, "headers": [], "body": b""},
        {"status": 200, "headers": [], "body": "text"}, {"status": 200, "headers": {}, "body": b""},
        {"status": 200, "headers": [["A"]], "body": b""},
        {"status": 200, "headers": [["A", 1]], "body": b""},
        {"status": 200, "headers": [["ETag", "a"]] * 65, "body": b""},
        {"status": 200, "headers": [], "body": bytes(64 * 2**20 + 1)},
    ],
    ids=lambda message: repr(message)[:60],
)  # fmt: skip
def test_a_malformed_response_is_refused(message: Any) -> None:
    """The host refuses whatever a worker sends that is no response within the limits."""
    with pytest.raises(ZImageError, match="ZI-SANDBOX-ROUTE-ANSWER"):
        header_filter.response("p", message)


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        ("ETag", '"1"', True), ("cache-control", "no-store", True),
        ("Content-Disposition", "attachment; filename*=UTF-8''%E4", True),
        ("Set-Cookie", "a=b", False), ("Access-Control-Allow-Origin", "*", False),
        ("Content-Security-Policy", "default-src *", False), ("Service-Worker-Allowed", "/", False),
        ("Connection", "close", False), ("Transfer-Encoding", "chunked", False),
        ("Content-Length", "5", False), ("Clear-Site-Data", "*", False), ("X-Any", "1", False),
        ("ETag", "a\r\nSet-Cookie: b=c", False), ("ETag", "a\0", False),
        ("ETag", "a" * 9000, False),
        ("Location", "/here", True), ("Location", "//evil", False), ("Location", "/\\evil", False),
        ("Location", "https://evil", False), ("Location", "javascript:alert(1)", False),
    ],
)  # fmt: skip
def test_only_listed_headers_reach_the_browser(name: str, value: str, passes: bool) -> None:
    """Headers pass if they are on the list and valid; the host sets the length itself."""
    answer = {"status": 200, "headers": [[name, value]], "body": b"abc"}
    response = header_filter.response("p", answer)
    assert (response.headers.get(name) == value) is passes
    assert response.body == b"abc"

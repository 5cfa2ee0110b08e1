"""Whom an error is blamed on: a malformed request, or the server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import comfyui
from zimage_comfyui.patches.requests import malformed, request_checks
from zimage_comfyui.patches.requests.pipeline import ERRORS
from zimage_comfyui.tests.fakes.slots import slots


def ask(tmp_path, monkeypatch, error: Exception, path: str = "/userdata/x", where="handler") -> Any:
    """Status and answer of a server whose handler, or middleware, raises an error."""
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)

    async def handler(request: web.Request) -> web.Response:
        if where == "handler":
            raise error
        return web.Response()

    @web.middleware
    async def other(request: web.Request, handler: Any) -> web.StreamResponse:
        if where == "middleware":
            raise error
        return await handler(request)

    app = web.Application(middlewares=[other])
    for route in ("/userdata/{file}", "/prompt", "/api/view"):
        app.router.add_get(route, handler)
    malformed.InputErrors(slots(app)[ERRORS]).apply()

    async def run() -> Any:
        async with TestClient(TestServer(app)) as client, client.get(path) as answer:
            return answer.status, await answer.text()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyError("x"), TypeError("x"), AttributeError("x"), RecursionError(),
     UnicodeDecodeError("utf-8", b"x", 0, 1, "x"), IsADirectoryError(errno.EISDIR, "x"),
     OSError(errno.ENAMETOOLONG, "x"), OSError("cannot identify image file")],
    ids=repr,
)  # fmt: skip
def test_errors_of_malformed_requests(tmp_path, monkeypatch, caplog, error: Exception) -> None:
    """400 with a code; the traceback is in the log."""
    status, answer = ask(tmp_path, monkeypatch, error)
    assert (status, "ZI-REQUEST-FAILED" in answer) == (400, True)
    assert "ZI-REQUEST-FAILED" in (tmp_path / "fuse.jsonl").read_text()
    assert [one for one in caplog.records if one.exc_info and one.exc_info[1] is error]
    assert ask(tmp_path, monkeypatch, error, "/api/view")[0] == 400


@pytest.mark.parametrize(
    "error",
    [RuntimeError("x"), MemoryError(), PermissionError(errno.EACCES, "x"), AssertionError(),
     OSError(errno.ENOSPC, "x"), OSError(errno.EIO, "x"), OSError(errno.EMFILE, "x")],
    ids=repr,
)  # fmt: skip
def test_faults_of_the_server(tmp_path, monkeypatch, caplog, error: Exception) -> None:
    """They stay 500, and are told as they were."""
    assert ask(tmp_path, monkeypatch, error)[0] == 500
    assert [one for one in caplog.records if one.exc_info and one.exc_info[1] is error]


def test_only_handlers_that_are_known(tmp_path, monkeypatch) -> None:
    """Not ``/prompt``, and not a middleware of another pack."""
    assert ask(tmp_path, monkeypatch, ValueError("x"), "/prompt")[0] == 500
    assert ask(tmp_path, monkeypatch, ValueError("x"), where="middleware")[0] == 500
    assert ask(tmp_path, monkeypatch, web.HTTPConflict())[0] == 409


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(VALUES)
def test_any_ids(value: Any) -> None:
    """What passes is a list of texts that a database takes."""
    try:
        request_checks.check_ids({"delete": value})
    except ZImageError:
        return
    assert all(one.encode() is not None for one in value)


def test_half_a_character_is_no_id() -> None:
    """JSON can name it, UTF-8 cannot."""
    with pytest.raises(ZImageError, match="ZI-REQUEST"):
        request_checks.check_ids({"delete": ["\ud800"]})
    request_checks.check_ids({"clear": True})


@given(st.binary())
def test_any_value(data: bytes) -> None:
    """Any JSON that can be written down again, of any kind."""
    with contextlib.suppress(ZImageError):
        request_checks.check_value(data)
        json.dumps(json.loads(data), indent=4)


@pytest.mark.parametrize("text", ["1", "null", '"x"', "[1]", '{"a": 1}', " 1 "])
def test_values_of_settings(text: str) -> None:
    """Not only objects."""
    request_checks.check_value(text.encode())


@pytest.mark.parametrize("text", ["", "1, 2", '1, "x": 2', "1}", "[" * 500 + "]" * 500])
def test_no_values_of_settings(text: str) -> None:
    """Nothing that the host would fall over while the file is open."""
    with pytest.raises(ZImageError, match="ZI-REQUEST"):
        request_checks.check_value(text.encode())


@pytest.mark.parametrize(
    ("charset", "data", "fits"),
    [
        (None, "猫".encode(), True), ("utf-8", "猫".encode(), True), ("UTF8", b"{}", True),
        ("iso-8859-1", b"{}", True), ("gbk", b"{}", True), ("iso-8859-1", "猫".encode(), False),
        ("utf-7", b"{}", False), ("utf-16", b"{}", False), ("punycode", b"{}", False),
        ("none", b"{}", False), ("utf-8-sig", b"{}", False), ("x" * 500, b"{}", False),
        ("a\0b", b"{}", False),
    ],
)  # fmt: skip
def test_character_sets(charset: str | None, data: bytes, fits: bool) -> None:
    """Those in which the bytes mean the same."""
    request: Any = SimpleNamespace(charset=charset)
    if fits:
        request_checks.check_charset(request, data)
        return
    with pytest.raises(ZImageError, match="ZI-REQUEST-CHARSET"):
        request_checks.check_charset(request, data)


@pytest.mark.parametrize(
    ("host", "origin", "fits"),
    [
        ("localhost:8188", "http://localhost:8188", True), ("[::1]:8188", "null", True),
        ("my_host", "https://a.example", True), ("", "", True), ("[", None, True),
        ("[", "http://a", False), ("a:b", "http://a", False), ("a", "http://[", False),
        ("a:99999", "http://a", False), (".a..b", "http://a", False), ("\udcff", "x", False),
        ("x" * 300, "http://a", False),
    ],
)  # fmt: skip
def test_addresses(host: str, origin: str | None, fits: bool) -> None:
    """What the host takes apart; without an Origin it does not."""
    headers = {"Host": host, **({"Origin": origin} if origin is not None else {})}
    if fits:
        request_checks.check_address(headers)
        return
    with pytest.raises(ZImageError, match="ZI-REQUEST"):
        request_checks.check_address(headers)

"""The history is sent in pieces that are the host's answer when put together."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import comfyui
from zimage_comfyui.patches.requests import history_stream
from zimage_comfyui.patches.requests.history_stream import PIECE, pieces
from zimage_comfyui.tests.fakes.slots import slots


class PromptQueue:
    """A host's queue with some history."""

    def get_history(self, prompt_id=None, max_items=None, offset=-1, map_function=None):
        return {"a": {"max_items": max_items, "offset": offset}, "b": {"x": "图" * PIECE}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A host's server whose own handler says so."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response("host")

    server = SimpleNamespace(app=web.Application(), prompt_queue=PromptQueue())
    for path in ("/history", "/api/history", "/history/{id}"):
        server.app.add_routes([web.get(path, answer), web.post(path, answer)])
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(
        PromptServer=SimpleNamespace(instance=server)))  # fmt: skip
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)
    server.slot = slots(server.app)["history"]
    execution: Any = ModuleType("execution")
    execution.PromptQueue = type("PromptQueue", (), dict(vars(PromptQueue)))
    monkeypatch.setitem(sys.modules, "execution", execution)
    return server


def ask(server: Any, path: str, method: str = "GET") -> tuple[int, Any]:
    """Status and JSON of a request."""

    async def go() -> tuple[int, Any]:
        async with (
            TestClient(TestServer(server.app)) as client,
            client.request(method, path) as response,
        ):
            assert response.content_type == "application/json"
            return response.status, await response.json()

    return asyncio.run(go())


@pytest.mark.parametrize("path", ["/history", "/api/history"])
def test_the_hosts_answer(server, path: str) -> None:
    """With its two parameters."""
    history_stream.create(server.slot).apply()
    expected = PromptQueue().get_history(max_items=5, offset=2)
    assert ask(server, f"{path}?max_items=5&offset=2") == (200, expected)


def test_its_defaults(server) -> None:
    """As the host has them."""
    history_stream.create(server.slot).apply()
    assert ask(server, "/history")[1]["a"] == {"max_items": None, "offset": -1}


@pytest.mark.parametrize("query", ["max_items=x", "offset=1.5", "max_items="])
def test_numbers_that_are_none(server, query: str) -> None:
    """400 with a code; the host alone fails."""
    history_stream.create(server.slot).apply()
    status, answer = ask(server, f"/history?{query}")
    assert (status, answer["error"]["type"]) == (400, "ZI-REQUEST")
    assert "ZI-REQUEST" in (comfyui.folder() / "fuse.jsonl").read_text()


@pytest.mark.parametrize(("path", "method"), [("/history/a", "GET"), ("/history", "POST")])
def test_everything_else_is_the_hosts(server, path: str, method: str) -> None:
    """One entry, and deleting."""
    history_stream.create(server.slot).apply()
    assert ask(server, path, method) == (200, "host")


def test_applied_twice_and_undone(server) -> None:
    """One middleware, which lets everything through afterwards."""
    part = history_stream.create(server.slot)
    for _ in range(2):
        part.apply()
        assert part.active
    assert server.slot.middleware == part.handle
    part.revert()
    assert not part.active
    assert ask(server, "/history") == (200, "host")


def test_another_host_is_left_alone(server) -> None:
    """Its history takes other parameters."""
    sys.modules["execution"].PromptQueue.get_history = lambda self, page: {}
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        history_stream.create(server.slot).apply()
    assert server.slot.middleware is None


@pytest.mark.parametrize(
    ("entries", "count"),
    [({}, 1), ({"a": 1}, 1), ({str(n): "x" * PIECE for n in range(3)}, 4),
     ({str(n): "x" for n in range(1000)}, 1), ({'"\n': object}, 1)],
)  # fmt: skip
def test_pieces(entries: dict[str, Any], count: int) -> None:
    """Together they are the object; each is as large as it should be."""
    found = list(pieces(entries.items()))
    assert len(found) == count
    assert json.loads(b"".join(found)) == json.loads(json.dumps(entries, default=repr))


def test_others_have_their_turn(server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces, even when the socket takes everything."""
    history_stream.create(server.slot).apply()
    turn, turns = 0, []

    def three(_entries: object) -> Iterator[bytes]:
        for piece in (b"{", b"  ", b"}"):
            turns.append(turn)
            yield piece

    monkeypatch.setattr(history_stream, "pieces", three)

    async def somebody() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def go() -> None:
        other = asyncio.create_task(somebody())
        async with TestClient(TestServer(server.app)) as client, client.get("/history") as response:
            assert await response.json() == {}
        other.cancel()

    asyncio.run(go())
    assert turns[0] < turns[1] < turns[2]

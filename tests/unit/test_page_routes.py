"""The pack's requests and its change to the template list, on a server of the host's shape."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zimage_comfyui.config import PACK_DIR
from zimage_comfyui.page import questions, routes
from zimage_comfyui.page.templates import Templates

ROOT = Path(__file__).resolve().parents[2]
LISTED = {PACK_DIR.name: ["电商海报生成", "坏"], "their pack": ["坏"]}
Work = Callable[[TestClient], Awaitable[Any]]


class Host:
    """What ``server.PromptServer`` has for the pack: an application and a table of routes."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.routes = web.RouteTableDef()
        self.listed: Any = LISTED

        @self.routes.get("/workflow_templates")
        async def listing(_request: web.Request) -> web.Response:
            return web.json_response(self.listed, headers={"X-Host": "kept"})

    def run(self, work: Work) -> Any:
        """Starts the server as ComfyUI does, with each route under ``/api`` too, and a client."""
        twins = [
            web.RouteDef(route.method, "/api" + route.path, route.handler, {})
            for route in self.routes
            if isinstance(route, web.RouteDef)
        ]
        self.app.add_routes(twins)
        self.app.add_routes(self.routes)

        async def go() -> Any:
            async with TestClient(TestServer(self.app)) as client:
                return await work(client)

        return asyncio.run(go())


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """A server that the pack finds."""
    made = Host()
    module = SimpleNamespace(PromptServer=SimpleNamespace(instance=made))
    monkeypatch.setitem(sys.modules, "server", module)
    # Nobody waits for the check at the start; a real one could end, and log, in a later test.
    monkeypatch.setattr(Templates, "broken", lambda _self: frozenset())
    monkeypatch.setitem(sys.modules, "nodes", None)
    return made


@pytest.fixture
def broken(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One template of ours is broken (``host`` comes first: it has none)."""
    monkeypatch.setattr(Templates, "broken", lambda _self: frozenset({"坏"}))


def post(path: str, body: bytes | dict) -> Work:
    """A request; gives its status and its JSON."""

    async def work(client: TestClient) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with client.post(path, data=io.BytesIO(data)) as answer:
            return answer.status, await answer.json()

    return work


async def listing(client: TestClient) -> Any:
    """The list of templates under both of its addresses, which are equal."""
    first, second = [await client.get(path) for path in sorted(routes.LISTS)]
    assert (first.status, first.headers["X-Host"]) == (200, "kept")
    assert await first.json() == await second.json()
    return await first.json()


@pytest.mark.usefixtures("broken")
def test_a_broken_template_is_left_out_of_the_list(host: Host) -> None:
    """The rest of the list, other packs' too, is as the host made it."""
    routes.install()
    assert host.run(listing) == {PACK_DIR.name: ["电商海报生成"], "their pack": ["坏"]}


@pytest.mark.parametrize("listed", [[], "?", {"their pack": ["坏"]}])
@pytest.mark.usefixtures("broken")
def test_a_list_of_another_shape_passes_through(host: Host, listed: Any) -> None:
    """What a later host may answer."""
    host.listed = listed
    routes.install()
    assert host.run(listing) == listed


def test_a_check_that_fails_is_told_once_and_hides_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts and answers all the same."""

    def fail(_self: Templates) -> frozenset[str]:
        raise RuntimeError("the check itself")

    monkeypatch.setattr(Templates, "broken", fail)
    routes.install()
    with caplog.at_level(logging.ERROR):
        assert host.run(listing) == LISTED
    told = [record.getMessage() for record in caplog.records]
    assert told == ["Z-Image: bundled templates could not be checked"]


def test_the_check_begins_with_the_server(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anybody asks for the list."""
    checked = []
    monkeypatch.setattr(Templates, "broken", lambda self: checked.append(self) or frozenset())
    routes.install()

    async def nothing(_client: TestClient) -> None:
        pass

    host.run(nothing)
    assert len(checked) == 1


def test_two_copies_of_the_pack_start_together(host: Host) -> None:
    """aiohttp would refuse a request that is registered twice."""
    routes.install()
    routes.install()
    assert host.run(post("/zimage/tokens", b"{}"))[0] == 400


@pytest.mark.parametrize("instance", [None, SimpleNamespace(), SimpleNamespace(app=1, routes=[])])
def test_another_kind_of_server_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, instance: object
) -> None:
    """No server, or one without an aiohttp application."""
    module = SimpleNamespace(PromptServer=SimpleNamespace(instance=instance))
    monkeypatch.setitem(sys.modules, "server", module)
    routes.install()
    monkeypatch.delitem(sys.modules, "server")
    routes.install()


def test_a_server_that_runs_already_is_left_alone(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Its middlewares cannot be changed any more; that is told."""
    host.app.freeze()
    routes.install()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_findings_come_with_place_code_and_both_languages(host: Host) -> None:
    """For the API form; the workflow itself has none."""
    routes.install()
    good = (ROOT / "workflows" / "古风插画.json").read_bytes()
    bad = json.loads((ROOT / "workflows" / "api" / "古风插画.json").read_bytes())
    bad["4"]["inputs"]["sampler_name"] = "eulr"

    async def both(client: TestClient) -> list[Any]:
        return [await post("/api/zimage/validate", body)(client) for body in (good, bad)]

    fine, wrong = host.run(both)
    assert fine == (200, {"ok": True, "findings": []})
    assert (wrong[0], wrong[1]["ok"]) == (200, False)
    (finding,) = wrong[1]["findings"]
    assert (finding["code"], finding["node"], finding["input"]) == (
        "ZI-WF-CHOICE", "4", "sampler_name",
    )  # fmt: skip
    assert "不是有效选项" in finding["zh"]
    assert "Choose one of them" in finding["en"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/zimage/validate", b"{", 400, "ZI-WF-JSON"),
        ("/zimage/validate", b"\xff", 400, "ZI-WF-JSON"),
        ("/zimage/validate", b"[" * 200_000, 400, "ZI-WF-JSON"),
        ("/zimage/validate", b" " * (questions.LARGEST_WORKFLOW + 1), 413, "ZI-REQUEST-LARGE"),
        ("/zimage/tokens", b"{", 400, "ZI-REQUEST"),
        ("/zimage/tokens", b"\xff", 400, "ZI-REQUEST"),
        ("/zimage/tokens", b"[" * 200_000, 400, "ZI-REQUEST"),
        ("/zimage/tokens", b'["text"]', 400, "ZI-REQUEST"),
        ("/zimage/tokens", b'{"text": 5}', 400, "ZI-REQUEST"),
        ("/zimage/tokens", b'{"text": "a", "encoder": []}', 400, "ZI-REQUEST"),
        ("/zimage/tokens", b'{"text": "\\ud800"}', 400, "ZI-TEXT-SURROGATE"),
        ("/zimage/tokens", b'{"text": "%s"}' % (b"a" * 100_001), 400, "ZI-TEXT-LONG"),
        ("/zimage/tokens", b" " * (questions.LARGEST_PROMPT + 1), 413, "ZI-REQUEST-LARGE"),
    ],
)
def test_what_cannot_be_used_is_answered_with_a_code(
    host: Host, path: str, body: bytes, status: int, code: str
) -> None:
    """In JSON, both languages, never with 500."""
    routes.install()
    found, answer = host.run(post(path, body))
    assert (found, answer["error"]["code"]) == (status, code)
    assert answer["error"]["zh"]
    assert answer["error"]["en"]


@pytest.mark.parametrize("path", ["/zimage/validate", "/zimage/tokens"])
def test_a_compressed_body_counts_unpacked_and_a_wrong_one_is_refused(
    host: Host, path: str
) -> None:
    """10 MB that travel as 10 kB, and bytes that are not what the header says."""
    routes.install()
    bomb = zlib.compress(b" " * 10_000_000)

    async def both(client: TestClient) -> list[tuple[int, str]]:
        found = []
        for data in (bomb, b"not compressed"):
            head = {"Content-Encoding": "deflate"}
            async with client.post(path, data=data, headers=head) as answer:
                found.append((answer.status, (await answer.json())["error"]["code"]))
        return found

    assert host.run(both) == [(413, "ZI-REQUEST-LARGE"), (400, "ZI-REQUEST")]


def test_a_failure_inside_is_no_500(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503 with a code, and one traceback in the log however often it happens."""

    def fail(*_values: object) -> None:
        raise RuntimeError("a tokenizer of another version")

    monkeypatch.setattr(routes, "count", fail)
    routes.install()

    async def twice(client: TestClient) -> list[tuple[int, Any]]:
        return [await post("/zimage/tokens", {"text": "a"})(client) for _ in range(2)]

    with caplog.at_level(logging.ERROR):
        answers = host.run(twice)
    assert [(status, body["error"]["code"]) for status, body in answers] == [
        (503, "ZI-PAGE-FAILED")
    ] * 2
    assert len([r for r in caplog.records if r.exc_info and "Z-Image" in r.message]) == 1


def test_a_host_without_tokenizers_says_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are an extra; nothing else depends on them."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    routes.install()
    status, answer = host.run(post("/zimage/tokens", {"text": "a"}))
    assert (status, answer["error"]["code"]) == (503, "ZI-TOKENIZER")

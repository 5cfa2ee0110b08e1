"""Which requests of a browser are another site's; programs are left alone."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict

from zimage_comfyui.config import Settings
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import comfyui
from zimage_comfyui.patches.requests import origins
from zimage_comfyui.patches.requests.origins import Rules
from zimage_comfyui.tests.fakes.slots import slots

PORT = 8188
LOCAL = Rules(loopback=True)
EVIL = "evil.example:8188"
SOCKET = {"Upgrade": "websocket"}
PAGE = {"Accept-Language": "zh-CN"}


def verdict(rules: Rules, method: str, headers: dict[str, str], scheme: str = "http") -> str:
    """The code for a request, "" when it may pass."""
    try:
        rules.judge(method, CIMultiDict(headers), scheme, PORT)
    except ZImageError as error:
        return error.code
    return ""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("rules", [LOCAL, Rules(loopback=False)], ids=["loopback", "anywhere"])
@pytest.mark.parametrize("origin", ["null", "Null", " null"])
def test_no_origin_changes_nothing(method: str, rules: Rules, origin: str) -> None:
    """Wherever the server listens; reading is left to the browser's own rule."""
    headers = {"Host": "127.0.0.1:8188", "Origin": origin}
    assert verdict(rules, method, headers) == "ZI-ORIGIN"
    assert verdict(rules, "GET", headers) == ""
    assert verdict(rules, "GET", {**headers, **SOCKET}) == "ZI-ORIGIN"


def test_what_the_browser_calls_another_site() -> None:
    """It says so itself; the same site and the user's own click are not another."""
    headers = {"Host": "127.0.0.1:8188", "Origin": "https://a.example"}
    assert verdict(LOCAL, "POST", {**headers, "Sec-Fetch-Site": "cross-site"}) == "ZI-ORIGIN"
    for site in ("same-origin", "same-site", "none"):
        assert verdict(LOCAL, "POST", {**headers, "Sec-Fetch-Site": site}) == ""


@pytest.mark.parametrize(
    ("cors", "origin", "code"),
    [
        ("*", "null", ""),
        ("null", "null", ""),
        ("*", "https://a.example", ""),
        ("https://a.example", "https://a.example", ""),
        ("https://a.example", "https://b.example", "ZI-ORIGIN"),
        ("https://a.example", "null", "ZI-ORIGIN"),
    ],
)
def test_cors_lets_in_whom_it_names(cors: str, origin: str, code: str) -> None:
    """As ``--enable-cors-header`` was given."""
    headers = {"Host": "localhost:8188", "Origin": origin, "Sec-Fetch-Site": "cross-site"}
    assert verdict(Rules(loopback=True, cors=cors), "POST", headers) == code


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "browser",
    [{"Origin": f"http://{EVIL}"}, {"Sec-Fetch-Site": "same-origin"}, PAGE],
    ids=["origin", "fetch", "language"],
)
def test_a_rebound_name_is_refused(method: str, browser: dict[str, str]) -> None:
    """A browser that believes to be at a stranger's host, at this very port."""
    assert verdict(LOCAL, method, {"Host": EVIL, **browser}) == "ZI-HOST-NAME"
    assert verdict(LOCAL, method, {"Host": "evil.example.:8188", **browser}) == "ZI-HOST-NAME"
    pretended = {"X-Forwarded-For": "10.0.0.1"}  # a script may set this one
    assert verdict(LOCAL, method, {"Host": EVIL, **browser, **pretended}) == "ZI-HOST-NAME"


def test_a_rebound_name_at_the_usual_port() -> None:
    """Then it is not in Host."""
    rules, headers = Rules(loopback=True), CIMultiDict({"Host": "evil.example", **PAGE})
    for scheme, port in (("http", 80), ("https", 443)):
        with pytest.raises(ZImageError, match="ZI-HOST-NAME"):
            rules.judge("GET", headers, scheme, port)
        rules.judge("GET", headers, scheme, PORT)


@pytest.mark.parametrize("host", ["127.0.0.1:8188", "[::1]:8188", "192.168.1.5:8188", "localhost",
                                  "localhost:8188", "a.localhost:8188", "my-pc:8188",
                                  "my-pc.local:8188", "host.docker.internal:8188",
                                  "nas.home.arpa:8188", "studio.example:8188",
                                  "STUDIO.example:8188", "studio.example.:8188",
                                  "localhost.:8188"])  # fmt: skip
def test_own_names_and_addresses(host: str) -> None:
    """Those that nobody else can own, and those in the settings."""
    rules = Rules(loopback=True, hosts=frozenset({"studio.example"}))
    assert verdict(rules, "POST", {"Host": host, "Origin": f"http://{host}", **PAGE}) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "comfy.example", "Origin": "https://comfy.example"},
        {"Host": "comfy.example", "Sec-Fetch-Site": "same-origin"},
        {"Host": "comfy.example:8443", "Origin": "https://comfy.example:8443"},
        {"Host": "comfy.example", "Origin": "http://comfy.example", "X-Forwarded-For": "1.2.3.4"},
        {"Host": "comfy.example", "Origin": "http://comfy.example", "Via": "1.1 proxy"},
        {"Host": "comfy.example", **PAGE},
    ],
)
def test_a_reverse_proxy_keeps_working(headers: dict[str, str]) -> None:
    """It has a port of its own, TLS, or says that it is one."""
    assert verdict(LOCAL, "POST", headers) == ""
    assert verdict(LOCAL, "GET", {**headers, **SOCKET}) == ""


def test_host_and_origin_forged_without_a_proxy() -> None:
    """A name without encryption that nobody vouches for."""
    headers = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert verdict(LOCAL, "POST", headers) == "ZI-HOST-NAME"
    assert verdict(Rules(loopback=False), "POST", headers) == ""


@pytest.mark.parametrize("host", [EVIL, "evil.example", "127.0.0.1:8188", "[", ""])
def test_programs_are_left_alone(host: str) -> None:
    """curl and Python send neither Origin nor a language."""
    headers = {"Host": host, "User-Agent": "curl/8.0", "Accept": "*/*"}
    assert verdict(LOCAL, "POST", headers) == ""


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("127.0.0.1,::1", True),
        ("0.0.0.0,::", False),
        ("127.0.0.1, 192.168.1.5", False),
        ("my-pc", False),
    ],
)
def test_where_the_host_listens(listen: str, loopback: bool) -> None:
    """As its command line says."""
    arguments = SimpleNamespace(listen=listen, enable_cors_header="HTTPS://A.example")
    assert origins.read_rules(arguments, frozenset()) == Rules(loopback, "https://a.example")


@pytest.mark.parametrize("arguments", [None, SimpleNamespace(listen="::1"), SimpleNamespace()])
def test_an_unknown_command_line(arguments: Any) -> None:
    """Then the part stands aside."""
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        origins.read_rules(arguments, frozenset())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A host's server that answers ``GET`` and ``POST /x``."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="host")

    server = SimpleNamespace(app=web.Application())
    server.app.add_routes([web.get("/x", answer), web.post("/x", answer)])
    module = ModuleType("server")
    module.PromptServer = SimpleNamespace(instance=server)  # pyright: ignore
    monkeypatch.setitem(sys.modules, "server", module)
    arguments = ModuleType("comfy.cli_args")
    arguments.args = SimpleNamespace(listen="::1", enable_cors_header=None)  # pyright: ignore
    monkeypatch.setitem(sys.modules, "comfy.cli_args", arguments)
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)
    return server


def ask(server: Any, headers: dict[str, str], then: Callable[[], object] = bool) -> Any:
    """Status and text of a POST, each before and after something."""

    async def go() -> list[tuple[int, str]]:
        async with TestClient(TestServer(server.app)) as client:
            found = []
            for step in (bool, then):
                step()
                async with client.post("/x", headers=headers) as response:
                    found.append((response.status, await response.text()))
            return found

    return asyncio.run(go())


def test_a_refusal_has_a_code_and_a_line(server, tmp_path: Path) -> None:
    """403 in the browser's language, before the host sees the request; reverted it passes."""
    slot = slots(server.app)["origins"]
    part = origins.create(slot)
    for _ in range(2):
        part.apply()
    assert part.active
    assert slot.middleware == part.handle
    headers = {"Origin": "null", "Accept-Language": "zh"}
    (status, text), after = ask(server, headers, part.revert)
    assert (status, json.loads(text)["error"]["type"]) == (403, "ZI-ORIGIN")
    assert "网站" in json.loads(text)["error"]["message"]
    assert after == (200, "host")
    assert not part.active
    line = json.loads((tmp_path / "fuse.jsonl").read_text(encoding="utf-8"))
    assert (line["path"], line["trigger"], line["action"]) == ("/x", "ZI-ORIGIN", "refused")
    part.apply()  # again, although the server serves
    assert part.active


def test_the_port_that_a_request_came_in_at(server) -> None:
    """A stranger's name with exactly this port is refused, with another it is a proxy's."""
    origins.create(slots(server.app)["origins"]).apply()

    async def go() -> list[int]:
        async with TestClient(TestServer(server.app)) as client:
            found = []
            for port in (client.port, 1):
                headers = {"Host": f"evil.example:{port}", **PAGE}
                async with client.get("/x", headers=headers) as response:
                    found.append(response.status)
            return found

    assert asyncio.run(go()) == [403, 200]


def test_a_server_that_serves_is_left_alone(server) -> None:
    """Its middlewares cannot be changed any more."""
    server.app.freeze()
    part = origins.create(slots(server.app)["origins"])
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        part.apply()
    assert not part.active


def test_names_in_the_settings() -> None:
    """Small letters, commas or spaces between."""
    found = Settings.from_environment({"ZIMAGE_HOSTS": "Studio.example, b.example"})
    assert found.hosts == {"studio.example", "b.example"}
    assert Settings.from_environment({}).hosts == frozenset()

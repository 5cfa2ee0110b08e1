"""pytest plugin for ComfyUI's own tests: async tests, patience and a clean start, a report.

The private environment has neither pytest-asyncio nor pytest-aiohttp; what these tests use of them
is one marker and one fixture.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import shutil
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import websocket
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import Application

PATIENCE = 180.0
"""Seconds that a server may take to start. ComfyUI's tests give it 20."""
SERVERS = ("server", "_server")
"""Fixtures that start a server."""
STATE = Path("user", "__zimage")
"""What outlives a server, in the copy of ComfyUI that is the current folder."""
OUTCOMES = ("passed", "failed", "error", "skipped", "deselected")
PARTS: Counter[str] = Counter()
"""``NAME STATUS`` of each hardening part, counted at every connection."""
OPENED: list[TestClient[Any, Any]] = []
"""Clients of the test that runs."""


class PatientWebSocket(websocket.WebSocket):
    """Waits until somebody listens, and asks how the server's hardening is."""

    def connect(self, url: str, **named: Any) -> None:
        """Raises ``TimeoutError`` after :data:`PATIENCE`: others make the tests try again."""
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                super().connect(url, **named)
                break
            except ConnectionRefusedError:
                if time.monotonic() > give_up:
                    raise TimeoutError(f"no server within {PATIENCE:.0f} s") from None
                time.sleep(0.2)
        PARTS.update(states(urlsplit(url).netloc))


def states(server: str) -> list[str]:
    """``NAME STATUS`` of every hardening part of a server, ``/health 404`` and the like without."""
    try:
        with urllib.request.urlopen(f"http://{server}/health") as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()  # 503 has the same document
        if error.code != 503:
            return [f"/health {error.code}"]
    parts: dict[str, dict[str, str]] = json.loads(text)["patches"]
    return [f"{name} {part['status']}" for name, part in parts.items()]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the report goes."""
    parser.addoption("--hostsuite-report", type=Path)


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported."""
    websocket.WebSocket = PatientWebSocket
    config.addinivalue_line("markers", "asyncio: run in an event loop of its own")


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: Any) -> None:
    """Let each server be a new one: the tests count on an empty history, and ours outlives them."""
    if fixturedef.argname in SERVERS:
        shutil.rmtree(STATE, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(_to_the_end(pyfuncitem.obj(**arguments)))
    return True


async def _to_the_end(test: Awaitable[None]) -> None:
    try:
        await test
    finally:
        for client in OPENED:
            await client.close()


@pytest.fixture
def aiohttp_client() -> Iterator[Callable[..., Awaitable[Any]]]:
    """``await aiohttp_client(app)``: a client of an application, closed after the test."""

    async def make(app: Application) -> Any:
        client = TestClient(TestServer(app))
        await client.start_server()
        OPENED.append(client)
        return client

    yield make
    OPENED.clear()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write what ``./zimage test --host-suite`` reads."""
    stats = terminalreporter.stats
    found = {name: len(stats.get(name, ())) for name in OUTCOMES}
    outcomes = {name: count for name, count in found.items() if count}
    ends = (one for kind in ("failed", "error") for one in stats.get(kind, ()))
    failed = list(dict.fromkeys(one.nodeid for one in ends))  # a test may fail and then not end
    report = {"outcomes": outcomes, "parts": PARTS, "failed": failed}
    config.getoption("hostsuite_report").write_text(json.dumps(report), encoding="utf-8")

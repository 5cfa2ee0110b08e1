"""Where ``/health`` and its neighbours are put, and what else has these paths."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from zimage_comfyui.patches import health

PATHS = ["/health", "/health/live", "/health/ready", "/metrics", "/zimage/status"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A running server as far as its routes go."""
    made = SimpleNamespace(app=web.Application(), routes=web.RouteTableDef(), hardened=0)
    module = SimpleNamespace(PromptServer=SimpleNamespace(instance=made))
    monkeypatch.setitem(sys.modules, "server", module)

    def harden(server: Any, *_: Any) -> None:
        server.hardened += 1

    monkeypatch.setattr(health, "harden", harden)
    return made


def paths(server: Any) -> list[str]:
    """Of all routes."""
    return [route.path for route in server.routes]


def test_everything_has_its_path(server: Any) -> None:
    """And the server is hardened."""
    health.install()
    assert paths(server) == PATHS
    assert server.hardened == 1


@pytest.mark.parametrize("taken", PATHS[:-1])
def test_a_path_of_another_pack_stays_its_own(
    server: Any, caplog: pytest.LogCaptureFixture, taken: str
) -> None:
    """The server is hardened all the same, and the log says what is missing."""
    server.routes.get(taken)(lambda _: web.Response())
    with caplog.at_level(logging.WARNING):
        health.install()
    assert sorted(paths(server)) == sorted(PATHS)
    assert server.hardened == 1
    assert [line for line in caplog.messages if taken in line]


def test_a_second_copy_of_the_pack_does_nothing(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so."""
    health.install()
    health.install()
    assert paths(server) == PATHS
    assert server.hardened == 1
    assert "another copy" in caplog.text

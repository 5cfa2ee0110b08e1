"""The parts and routes of a server, and what else has these paths."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from zimage_comfyui.config import Settings
from zimage_comfyui.patches import install
from zimage_comfyui.patches.base.registry import Registry

PATHS = ["/health", "/health/live", "/health/ready", "/metrics", "/zimage/status"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A running server as far as its routes go."""
    made = SimpleNamespace(app=web.Application(), routes=web.RouteTableDef(), hardened=0)
    module = SimpleNamespace(PromptServer=SimpleNamespace(instance=made))
    monkeypatch.setitem(sys.modules, "server", module)

    def harden(server: Any, *_: Any) -> None:
        server.hardened += 1

    monkeypatch.setattr(install, "harden", harden)
    return made


def paths(server: Any) -> list[str]:
    """Of all routes."""
    return [route.path for route in server.routes]


def test_everything_has_its_path(server: Any) -> None:
    """And the server is hardened."""
    install.install()
    assert paths(server) == PATHS
    assert server.hardened == 1


def test_settings_that_cannot_be_used_are_in_the_log(
    server: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their code, in Chinese and English; the server starts with the defaults."""
    monkeypatch.setenv("ZIMAGE_IDLE_MINUTES", "soon")
    monkeypatch.setenv("ZIMAGE_LIMITS", "stepps=9")
    with caplog.at_level(logging.WARNING):
        install.install()
    assert server.hardened == 1
    lines = [line for line in caplog.messages if "[ZI-SETTING]" in line]
    assert ["ZIMAGE_IDLE_MINUTES" in line for line in lines] == [True, False]
    assert all("应为" in line and "expected" in line for line in lines)


@pytest.mark.parametrize("taken", PATHS[:-1])
def test_a_path_of_another_pack_stays_its_own(
    server: Any, caplog: pytest.LogCaptureFixture, taken: str
) -> None:
    """The server is hardened all the same, and the log says what is missing."""
    server.routes.get(taken)(lambda _: web.Response())
    with caplog.at_level(logging.WARNING):
        install.install()
    assert sorted(paths(server)) == sorted(PATHS)
    assert server.hardened == 1
    assert [line for line in caplog.messages if taken in line]


def test_a_second_copy_of_the_pack_does_nothing(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so."""
    install.install()
    install.install()
    assert paths(server) == PATHS
    assert server.hardened == 1
    assert "another copy" in caplog.text


def setup_database() -> None:
    """As the host's."""


def start_multi_address(self: Any, addresses: Any, call_on_start: Any, verbose: Any) -> None:
    """As the host's."""


@pytest.mark.parametrize(
    ("listen", "off", "status", "code"),
    [
        (start_multi_address, "", "refused", "ZI-PATCH-FAILED"),
        (setup_database, "", "refused", "ZI-PATCH-SEAM"),
        (setup_database, "guarded", "off", None),
    ],
    ids=["another reason", "a host that does not fit", "switched off"],
)
def test_a_server_without_the_guardian_that_it_should_have_says_so(
    listen: Any, off: str, status: str, code: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``serve`` starts where no guardian could work is served, and not healthy."""
    module = SimpleNamespace(PromptServer=type("PromptServer", (), {"start_multi_address": listen}))
    monkeypatch.setitem(sys.modules, "server", module)
    monkeypatch.setattr(sys.modules["__main__"], "setup_database", setup_database, raising=False)
    registry = Registry(["guarded"])
    settings = Settings.from_environment({"ZIMAGE_UNGUARDED": "1", "ZIMAGE_OFF": off})
    install.harden(SimpleNamespace(app=web.Application()), registry, settings)
    found = registry.describe()["guarded"]
    assert (found["status"], found.get("code")) == (status, code)
    assert registry.missing() == ([] if off else ["guarded"])
    assert sys.modules["__main__"].setup_database is setup_database
    bare = Registry(["guarded"])
    install.harden(SimpleNamespace(app=web.Application()), bare, Settings.from_environment({}))
    assert bare.missing() == []

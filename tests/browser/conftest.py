"""A ComfyUI with the pack and a headless Chromium that opens its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.browser.chromium import FIRST_VISIT_IS_OVER, launched

if TYPE_CHECKING:
    from zimage_comfyui.tests.browser.page import ComfyPage


@pytest.fixture(scope="session")
def server(
    chromium: str, host: Host, pack_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One ComfyUI for all browser tests."""
    with Server(host, pack_dir, tmp_path_factory.mktemp("comfyui")) as running:
        status, _ = running.client.request("/settings", FIRST_VISIT_IS_OVER)
        assert status == 200
        yield running


@pytest.fixture(scope="session")
def pack_name(server: Server) -> str:
    """The name under which the page lists our templates: the folder's name."""
    listed = server.client.get("/workflow_templates")
    return next(pack for pack, names in listed.items() if "电商海报生成" in names)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator:
    """Chromium. Not for the session: its event loop would be in the way of other tests' own."""
    with launched(chromium) as browser:
        yield browser


@pytest.fixture
def comfy(browser, server: Server) -> Iterator[ComfyPage]:
    """A page of its own, in Chinese."""
    from zimage_comfyui.tests.browser.page import tab

    with tab(browser, server.url) as page:
        yield page


@pytest.fixture(scope="module")
def shared(browser, server: Server) -> Iterator[ComfyPage]:
    """One page in Chinese for the tests of a file that only open templates and look."""
    from zimage_comfyui.tests.browser.page import tab

    with tab(browser, server.url) as page:
        yield page

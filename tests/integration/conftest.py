"""A real ComfyUI with the pack, on a loopback port, for tests that speak HTTP and WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from zimage_comfyui.cli.client import Client
from zimage_comfyui.cli.host import Host
from zimage_comfyui.cli.server import Server
from zimage_comfyui.tests.integration.studio import studio  # noqa: F401 - a fixture
from zimage_comfyui.tests.integration.troubled import start  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def server(
    host: Host, pack_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One ComfyUI for the whole session; ``server.client``, ``server.url``, ``server.folder``."""
    with Server(host, pack_dir, tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Client:
    """A client of the session's server, with a client id of its own."""
    return server.client


@pytest.fixture
def start_server(host: Host, pack_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of the test's own: ``start_server(*comfyui_arguments, env=…, pack=…)``.

    They are stopped when the test ends.
    """
    with ExitStack() as running:
        count = 0

        def start(*arguments: str, pack: Path = pack_dir, env: dict[str, str] | None = None):
            nonlocal count
            count += 1
            folder = tmp_path / f"server-{count}"
            return running.enter_context(Server(host, pack, folder, arguments, env=env))

        yield start

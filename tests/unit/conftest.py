"""What several files of tests of the confinement need."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path):
    """A secret outside, folders and files that are granted, and the jail that grants them."""
    for name in ("write", "create", "read"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "read" / "model").write_text("model")
    (tmp_path / "create" / "theirs").write_text("theirs")
    return tmp_path


@pytest.fixture
def jail(place: Path) -> dict:
    return {name: [str(place / name)] for name in ("read", "write", "create")}


@pytest.fixture
def listener():
    """A server on both loopback addresses that says hello; the port."""
    from zimage_comfyui.cli.server import free_port

    port = free_port()
    four = socket.create_server(("127.0.0.1", port), backlog=20)
    six = socket.create_server(("::1", port), family=socket.AF_INET6) if _has_ipv6() else None
    yield port
    for one in (four, six):
        if one is not None:
            one.close()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True

"""The host with the pack in it starts, answers and runs a graph of its own nodes."""

from __future__ import annotations

import pytest

from zimage_comfyui.cli.client import Client, RefusedError
from zimage_comfyui.cli.server import Server

EMPTY = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": 0x123456},
    },
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "空"}},
}


def test_stock_graph_runs_and_its_picture_can_be_fetched(client: Client) -> None:
    """A graph of stock nodes goes through /prompt, /ws, /history and /view."""
    done = client.run(EMPTY)
    assert done.succeeded
    assert [image["type"] for image in done.images] == ["output"]
    assert client.view(done.images[0]).startswith(b"\x89PNG")
    assert {"execution_start", "executing"} <= {event["type"] for event in done.events}


def test_refused_graph_tells_the_server_s_reason(client: Client) -> None:
    """A graph with an unknown node is refused, and the reason reaches the caller."""
    with pytest.raises(RefusedError, match="NoSuchNode"):
        client.run({"1": {"class_type": "NoSuchNode", "inputs": {}}})


def test_everything_is_written_under_the_server_s_own_folder(
    server: Server, client: Client
) -> None:
    """Outputs and the database stay out of the host's folder."""
    name = client.run(EMPTY).images[0]["filename"]
    assert (server.folder / "output" / name).exists()
    assert not (server.host.path / "output" / name).exists()

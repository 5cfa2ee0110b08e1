"""The thousandth picture is as exact as the first: same seed, same bytes, whatever ran between."""

from __future__ import annotations

import pytest

from zimage_comfyui.cli.client import Client
from zimage_comfyui.tests.fakes import graphs

pytestmark = pytest.mark.slow

SIZES = ("144x112 (9:7)", "112x144 (7:9)", "128x128 (1:1)")


def test_same_seed_same_bytes_after_fifty_other_runs(studio) -> None:
    """Other prompts, sizes, batches, steps and guidance in between leave no trace."""
    client: Client = studio.client
    first = picture(client, graphs.render())
    for number in range(50):
        graph = graphs.render(
            text__prompt=f"第 {number} 张 another one",
            size__size=SIZES[number % 3],
            size__batch_size=1 + number % 2,
            sample__seed=number,
            sample__steps=1 + number % 3,
            sample__cfg=1.0 + number % 2,
        )
        other = picture(client, graph)
        assert other != first
    assert picture(client, graphs.render()) == first


def picture(client: Client, graph: graphs.Graph) -> bytes:
    """The saved file of a run, all of it: pixels and metadata."""
    done = client.run(graph)
    assert done.succeeded, done.error
    return client.view(done.images[0])

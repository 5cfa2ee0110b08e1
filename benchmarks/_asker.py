"""The client and the prompts of ``overhead``."""

from __future__ import annotations

import json
import time
from typing import Any

import _common

TEMPLATE = "电商海报生成"
PATIENCE = 600.0
"""Seconds to wait for a start or an event."""

Graph = dict[str, dict[str, Any]]


class Asker:
    """One client of one server, with connections that stay open."""

    def __init__(self, server: Any) -> None:
        self.url, self.id = server.url, f"bench-{server.port}"

    async def __aenter__(self) -> Asker:
        import aiohttp

        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(f"{self.url}/ws?clientId={self.id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def run(self, graph: Graph) -> dict[str, float]:
        """Milliseconds to the answer of ``POST /prompt`` and to having the entry of history."""
        body, began = {"prompt": graph, "client_id": self.id}, time.perf_counter()
        async with self.session.post(f"{self.url}/prompt", json=body) as answer:
            id = (await answer.json())["prompt_id"]
        accepted = time.perf_counter() - began
        while not _ends(await self.socket.receive(PATIENCE), id):
            pass
        async with self.session.get(f"{self.url}/history/{id}") as answer:
            entry = (await answer.json())[id]
        done = time.perf_counter() - began
        if entry["status"]["status_str"] != "success":
            raise SystemExit(f"{self.url}: {entry['status']}")
        return {"accepted": accepted * 1000, "done": done * 1000}


def _ends(message: Any, id: str) -> bool:
    if not isinstance(message.data, str):
        return False
    event = json.loads(message.data)
    data = event["data"]
    return event["type"] == "executing" and data["node"] is None and data["prompt_id"] == id


def trivial_graph(index: int) -> Graph:
    """An empty picture of a colour of its own, so that nothing comes from the cache."""
    size = {"width": 64, "height": 64, "batch_size": 1}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": index}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


def turbo_graph(index: int) -> Graph:
    """The poster template with a seed of its own."""
    from zimage_comfyui.cli import templates

    path = templates.find(_common.pack_dir(), TEMPLATE)
    return templates.with_seed(templates.load(path), index)

"""The client and the prompts of ``overhead`` and ``submissions``."""

from __future__ import annotations

import json
import time
from typing import Any

import _common

TEMPLATE = "电商海报生成"
PATIENCE = 600.0
"""Time limit in seconds of a start or an event."""

Graph = dict[str, dict[str, Any]]


class PromptClient:
    """A client of a server with persistent connections."""

    def __init__(self, server: Any) -> None:
        self.url = server.url
        self.id = f"bench-{server.port}"

    async def __aenter__(self) -> PromptClient:
        import aiohttp

        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(f"{self.url}/ws?clientId={self.id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def run(self, graph: Graph) -> dict[str, float]:
        """Return milliseconds until the response of ``POST /prompt`` and until the history."""
        body = {"prompt": graph, "client_id": self.id}
        began = time.perf_counter()
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
    """Return a prompt for an empty picture; each index has another colour, to avoid the cache."""
    size = {"width": 64, "height": 64, "batch_size": 1}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": index}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


def turbo_graph(index: int) -> Graph:
    """Return the poster template with the index as seed."""
    from zimage_comfyui.cli import templates

    path = templates.find(_common.pack_dir(), TEMPLATE)
    return templates.with_seed(templates.load(path), index)

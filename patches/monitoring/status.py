"""``GET /zimage/status``: what the panel in the page shows, ``/health`` and a little more."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from aiohttp import web

from ..memory import ram
from . import metrics

if TYPE_CHECKING:
    from .health import Health

LINES = 20
"""Events of the guardian."""
TAIL = 16 * 1024
"""Bytes at the end of its log in which they are looked for."""


class Status:
    """What the panel asks for, every two seconds.

    Args:
        health: of this server.
        journal: log of the guardian, None without one.
    """

    def __init__(self, health: Health, journal: Path | None) -> None:
        self.health, self.journal = health, journal

    async def answer(self, _request: web.Request) -> web.Response:
        """``GET /zimage/status``; 200 also where the server is not ready, which it says."""
        events = await asyncio.to_thread(tail, self.journal) if self.journal else []
        return web.json_response({**self.describe(), "guardian": events})

    def describe(self) -> dict[str, Any]:
        """As ``/health``, with memory: bytes in use by this process, and all there is."""
        memory = {"ram": {"used": ram.resident(), "total": psutil.virtual_memory().total}}
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
            memory["gpu"] = {"used": metrics.gpu_reserved(), "total": total}
        return {**self.health.describe(), "memory": memory}


def tail(path: Path) -> list[str]:
    """The last lines of a log, at most :data:`LINES`; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            begin = max(file.seek(0, 2) - TAIL, 0)
            file.seek(begin)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1 if begin else 0 :][-LINES:]  # the first of a part may be half a line

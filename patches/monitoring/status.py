"""``GET /zimage/status``: what the panel in the page shows, ``/health`` and a little more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psutil
from aiohttp import web

from ..base import ram
from . import process
from .health import Health

LINES = 20
"""Events of the guardian."""
TAIL = 16 * 1024
"""Bytes at the end of the guardian's log that are read."""


class Status:
    """What the panel requests every two seconds.

    Args:
        health: of this server.
        journal: the guardian's log, None without a guardian.
    """

    def __init__(self, health: Health, journal: Path | None) -> None:
        self.health = health
        self.journal = journal

    async def answer(self, _request: web.Request) -> web.Response:
        """Answer ``GET /zimage/status``, with 200 also where the server is not ready."""
        events = await asyncio.to_thread(tail, self.journal) if self.journal else []
        return web.json_response({**self.describe(), "guardian": events})

    def describe(self) -> dict[str, Any]:
        """Return the body of ``/health``, with memory in bytes: used by this process, and total."""
        memory = {"ram": {"used": ram.resident(), "total": psutil.virtual_memory().total}}
        if total := process.gpu_total():
            memory["gpu"] = {"used": process.gpu_reserved(), "total": total}
        return {**self.health.describe(), "memory": memory}


def tail(path: Path) -> list[str]:
    """Return the last lines of a log, at most :data:`LINES`; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = max(file.seek(0, 2) - TAIL, 0)
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines[1 if start else 0 :][-LINES:]  # the first of a part may be incomplete

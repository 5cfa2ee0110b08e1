"""``GET /health``, ``/health/live`` and ``/health/ready``: the state of the server, with reasons.

``live``: the process answers. ``ready``: it would run a prompt now. ``ready`` and ``/health`` are
503 with reasons otherwise; ``/health`` has all details. Where prompts would run, but a part of the
hardening does not fit or has failed, its status is ``degraded``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from ..base import comfyui, sandbox_source
from ..base.registry import Registry
from .process import gpu_reserved

WORKER = "prompt_worker"
"""The name of the host's worker thread contains this name of its function."""


class Health:
    """The state of a running server.

    Args:
        server: the host's ``PromptServer``.
        registry: its parts.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self, server: Any, registry: Registry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.server = server
        self.registry = registry
        self.clock = clock
        self.started = clock()

    def uptime(self) -> float:
        """Return the seconds since the pack was loaded."""
        return self.clock() - self.started

    def reasons(self) -> list[str]:
        """Return why the server would not run a prompt now; empty when it would."""
        alive = any(WORKER in thread.name for thread in threading.enumerate())
        return [*([] if alive else ["worker"]), *self.registry.reasons()]

    def mode(self) -> str:
        """Return ``normal``, or the degraded mode of a guardian: ``safe`` or ``cpu``."""
        part: Any = getattr(self.registry.states.get("guarded"), "part", None)
        return part.details().get("mode", "normal") if part else "normal"

    def describe(self) -> dict[str, Any]:
        """Return the body of ``/health``."""
        reasons = self.reasons()
        missing = self.registry.missing()
        queue = self.server.prompt_queue
        return {
            "status": "unavailable" if reasons else "degraded" if missing else "ok",
            "reasons": reasons,
            "degraded": missing,
            "mode": self.mode(),
            "uptime_seconds": round(self.uptime(), 1),
            "gpu_memory_used_mb": round(gpu_reserved() / 2**20, 1),
            "pending_tasks": queue.get_tasks_remaining(),
            "models_loaded": comfyui.models(),
            "queue": {
                "running": len(queue.currently_running),
                "waiting": len(queue.queue),
                "history": len(queue.history),
            },
            "patches": self.registry.describe(),
            "sandboxes": sandbox_source.describe(),
        }

    async def health(self, _request: web.Request) -> web.Response:
        """Answer ``GET /health``."""
        body = self.describe()
        return web.json_response(body, status=503 if body["reasons"] else 200)

    async def live(self, _request: web.Request) -> web.Response:
        """Answer ``GET /health/live``, always with 200."""
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """Answer ``GET /health/ready``."""
        reasons = self.reasons()
        body = {"status": "unavailable" if reasons else "ok", "reasons": reasons}
        return web.json_response(body, status=503 if reasons else 200)

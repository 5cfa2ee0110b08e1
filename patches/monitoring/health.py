"""``GET /health``, ``/health/live``, ``/health/ready``: does this server do its work; if not, why.

``live``: the process answers. ``ready``: it would run a prompt now. Both are 503 with reasons
otherwise; ``/health`` is ready's verdict with all details. Where prompts would run, but a part of
the hardening does not fit or has failed, its status is ``degraded``.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from aiohttp import web

from ...config import GUARD, InvalidValue, Settings
from ..base import comfyui
from ..base.registry import EARLY, SHARED, Part, Registry, part_of
from ..guardian_client.guarded import Guarded, Unguarded
from ..requests import fuse
from . import sandbox_source
from .metrics import Metrics, gpu_reserved
from .status import Status

log = logging.getLogger(__name__)

STATUS = "/zimage/status"
WORKER = "prompt_worker"
"""The host starts its worker thread with the target's name in the thread's."""


class Health:
    """What a running server says of itself."""

    def __init__(
        self, server: Any, registry: Registry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.server, self.registry, self.clock = server, registry, clock
        self.began = clock()

    def reasons(self) -> list[str]:
        """Why the server would not run a prompt now; empty when it would."""
        alive = any(WORKER in thread.name for thread in threading.enumerate())
        return [*([] if alive else ["worker"]), *self.registry.reasons()]

    def mode(self) -> str:
        """``normal``, or what a guardian has started instead: ``safe`` or ``cpu``."""
        part: Any = getattr(self.registry.states.get("guarded"), "part", None)
        return part.details().get("mode", "normal") if part else "normal"

    def describe(self) -> dict[str, Any]:
        """The published keys, and details."""
        reasons, missing = self.reasons(), self.registry.missing()
        queue = self.server.prompt_queue
        return {
            "status": "unavailable" if reasons else "degraded" if missing else "ok",
            "reasons": reasons,
            "degraded": missing,
            "mode": self.mode(),
            "uptime_seconds": round(self.clock() - self.began, 1),
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
        """``GET /health``."""
        found = self.describe()
        return web.json_response(found, status=503 if found["reasons"] else 200)

    async def live(self, _request: web.Request) -> web.Response:
        """``GET /health/live``: an answer is the answer."""
        return web.json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        """``GET /health/ready``."""
        reasons = self.reasons()
        status = "ok" if not reasons else "unavailable"
        answer = {"status": status, "reasons": reasons}
        return web.json_response(answer, status=503 if reasons else 200)


def install() -> None:
    """Harden the running server and let it tell how it is."""
    server: Any = getattr(
        getattr(sys.modules.get("server"), "PromptServer", None), "instance", None
    )
    if not isinstance(getattr(server, "app", None), web.Application):
        return  # a test, or a host that serves in another way
    taken = {getattr(route, "path", None) for route in server.routes}
    if STATUS in taken:
        log.warning("Z-Image: another copy of this pack has hardened the server")
        return
    registry = Registry()
    settings = Settings.from_environment()
    for invalid in invalid_values(settings, registry.states):
        log.warning("Z-Image: %s", invalid.error)
    harden(server, registry, settings)
    health = Health(server, registry)
    journal = settings.log_dir / "guardian.log" if settings.guardian and settings.log_dir else None
    for path, handler in (
        ("/health", health.health), ("/health/live", health.live), ("/health/ready", health.ready),
        ("/metrics", Metrics(health).answer), (STATUS, Status(health, journal).answer),
    ):  # fmt: skip
        if path in taken:
            log.warning("Z-Image: %s is another pack's", path)
        else:
            server.routes.get(path)(handler)


def invalid_values(settings: Settings, parts: Collection[str]) -> list[InvalidValue]:
    """Return the settings that cannot be used, but for the guardian's, which ``serve`` checks.

    Args:
        settings: of this server.
        parts: names that ``$ZIMAGE_OFF`` may have.
    """
    values = [invalid for invalid in settings.unfit if invalid.name != GUARD]
    values += fuse.invalid_limits(settings.limits)
    unknown = sorted(settings.off - {*parts})
    if unknown:
        values.append(InvalidValue("ZIMAGE_OFF", ", ".join(unknown), ", ".join(parts)))
    return values


def harden(server: Any, registry: Registry, settings: Settings) -> None:
    """Apply every part; under a guardian, those that touch shared things when it says go."""
    off = settings.off
    if not server.app.frozen:
        server.app.middlewares.append(fuse.answered)
    if not (settings.guardian or settings.listen_fds):
        registry.apply(off, names={*registry.states} - {"guarded"})
        if settings.unguarded:
            registry.apply(off, lambda _name: Unguarded(), names={"guarded"})
        return

    def make(name: str) -> Part:
        if name != "guarded":
            return part_of(name)
        return Guarded(server, settings, lambda: registry.apply(off, names=SHARED), registry.settle)

    registry.apply(off, make, names=EARLY)
    if registry.states["guarded"].part is not None:
        return
    if settings.guardian:  # it has the port; a server that cannot be told to go is of no use
        log.error("Z-Image: this ComfyUI cannot be guarded and is started again without")
        os._exit(1)
    registry.apply(off, names=SHARED)

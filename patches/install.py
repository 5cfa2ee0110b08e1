"""Hardens the running server: creates the parts, connects them, and adds the server's routes.

The groups in this folder do not import each other. What a part needs of another group is passed to
it here.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Collection
from typing import Any

from aiohttp import web

from ..config import GUARD, InvalidValue, Settings
from .base import limits
from .base.registry import EARLY, MODULES, SHARED, Part, Registry
from .requests.pipeline import ERRORS, Pipeline

log = logging.getLogger(__name__)

STATUS = "/zimage/status"
MIDDLEWARES = ("origins", "paths", "pictures", "history", "fuse", "interrupt")
"""Parts that need only their slot in the pipeline; it has the name of the part."""


def install() -> None:
    """Harden the running server and add the routes that show its state."""
    server: Any = getattr(
        getattr(sys.modules.get("server"), "PromptServer", None), "instance", None
    )
    if not isinstance(getattr(server, "app", None), web.Application):
        return  # a test, or a host that serves in another way
    if STATUS in _paths(server):
        log.warning("Z-Image: another copy of this pack has hardened the server")
        return
    registry = Registry()
    settings = Settings.from_environment()
    for invalid in invalid_values(settings, registry.states):
        log.warning("Z-Image: %s", invalid.error)
    harden(server, registry, settings)
    add_routes(server, registry, settings)


def invalid_values(settings: Settings, parts: Collection[str]) -> list[InvalidValue]:
    """Return the settings that cannot be used, except the guardian's, which ``serve`` checks.

    Args:
        settings: of this server.
        parts: names that ``$ZIMAGE_OFF`` may have.
    """
    values = [invalid for invalid in settings.unfit if invalid.name != GUARD]
    values += limits.invalid_limits(settings.limits)
    unknown = sorted(settings.off - {*parts})
    if unknown:
        values.append(InvalidValue("ZIMAGE_OFF", ", ".join(unknown), ", ".join(parts)))
    return values


def harden(server: Any, registry: Registry, settings: Settings) -> None:
    """Apply every part; under a guardian, the shared ones when it activates this server."""
    parts = Parts(server, settings, registry)
    off = settings.off
    if not (settings.guardian or settings.listen_fds):
        names = {*registry.states} - {"guarded"}
        if settings.unguarded:
            names.add("guarded")
        registry.apply(off, parts.create, names=names)
        return
    registry.apply(off, parts.create, names=EARLY)
    if registry.states["guarded"].part is not None:
        return
    if settings.guardian:  # it holds the port, and cannot activate this server
        log.error("Z-Image: this ComfyUI cannot be guarded and is started again without")
        os._exit(1)
    registry.apply(off, parts.create, names=SHARED)


class Parts:
    """Creates the parts of one server.

    A part's module is imported when the part is created, so that a module that fails affects only
    its part.

    Args:
        server: the host's ``PromptServer``; its application gets all slots for middlewares.
        settings: of this server.
        registry: has the parts that a guardian activates later.
    """

    def __init__(self, server: Any, settings: Settings, registry: Registry) -> None:
        self.server = server
        self.settings = settings
        self.registry = registry
        self.pipeline = Pipeline()
        self.pipeline.install(server.app)
        self._creators: dict[str, Callable[[Any], Part]] = {
            "malformed": self._malformed,
            "guarded": self._guarded,
            "queue": self._queue,
            "disk": self._disk,
            **{name: self._with_slot(name) for name in MIDDLEWARES},
        }

    def create(self, name: str) -> Part:
        """Create a part by its name."""
        module = importlib.import_module(f".{MODULES[name]}", __package__)
        creator = self._creators.get(name)
        return creator(module) if creator else module.create()

    def _with_slot(self, name: str) -> Callable[[Any], Part]:
        return lambda module: module.create(self.pipeline.slots[name])

    def _malformed(self, module: Any) -> Part:
        slots = self.pipeline.slots
        return module.create(slots[ERRORS], slots["malformed"])

    def _guarded(self, module: Any) -> Part:
        if self.settings.unguarded:
            return module.Unguarded()
        return module.Guarded(self.server, self.settings, self._activate, self.registry.settle)

    def _activate(self) -> None:
        """Apply the parts that touch what servers share."""
        self.registry.apply(self.settings.off, self.create, names=SHARED)

    def _queue(self, module: Any) -> Part:
        group_commit = importlib.import_module(".queue.group_commit", __package__)
        slot = self.pipeline.slots["queue"]
        if slot.installed:  # else each submission waits for its own sync
            slot.fill(group_commit.hold_back)
        return module.create()

    def _disk(self, module: Any) -> Part:
        admission = importlib.import_module(".requests.disk_admission", __package__)
        slot = self.pipeline.slots["disk"]
        return module.create(lambda watch: admission.create(slot, watch))


def add_routes(server: Any, registry: Registry, settings: Settings) -> None:
    """Add ``/health``, ``/metrics`` and the status for the panel; another pack's routes stay."""
    from .monitoring.health import Health
    from .monitoring.metrics import Metrics
    from .monitoring.status import Status

    health = Health(server, registry)
    journal = settings.log_dir / "guardian.log" if settings.guardian and settings.log_dir else None
    handlers = {
        "/health": health.health,
        "/health/live": health.live,
        "/health/ready": health.ready,
        "/metrics": Metrics(health).answer,
        STATUS: Status(health, journal).answer,
    }
    taken = _paths(server)
    for path, handler in handlers.items():
        if path in taken:
            log.warning("Z-Image: %s is another pack's", path)
        else:
            server.routes.get(path)(handler)


def _paths(server: Any) -> set[str | None]:
    return {getattr(route, "path", None) for route in server.routes}

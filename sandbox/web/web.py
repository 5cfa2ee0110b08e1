"""Packs in sandboxes on ComfyUI's server: routes, folders, state and the panel's actions."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ...errors import ZImageError
from ...http_body import parse, read
from ...patches.base import sandbox_source
from ..policy.reload import ReloadablePolicy
from ..protocol import messages as m
from . import links
from .folders import Folders
from .forward import in_thread
from .routes import PREFIX, Entry, Handler, Routes, refusal
from .state import PrivateMemory, describe, restart_for

if TYPE_CHECKING:
    from ..host.pack import Pack
    from ..host.supervisor import Supervisor
    from ..policy.policy import Policy

log = logging.getLogger(__name__)

LARGEST_REQUEST = 64 * 2**10
"""Bytes of the body of an action."""
ACTIONS = ("lift", "stop", "restart")


class SandboxWeb:
    """Routes, folders and state of all sandboxes in one server.

    Args:
        policy: which packs run where.
        supervisor: has the packs' processes.
        findings: errors that users should know of; this class adds some.
        place: see :meth:`loading.loader.PackLoader.place`.
    """

    def __init__(
        self,
        policy: Policy,
        supervisor: Supervisor,
        findings: list[ZImageError],
        place: Callable[[str], str],
    ) -> None:
        self.supervisor = supervisor
        self.findings = findings
        self.place = place
        self.rules = ReloadablePolicy(supervisor.home.parent / "sandbox.toml", policy)
        supervisor.rule = self.rules.rule
        self.routes = Routes()
        self.memory = PrivateMemory()
        self._begun = False

    def begin(self) -> None:
        """Register with ComfyUI's server if it exists by now; called before each pack is loaded."""
        server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
        app: Any = getattr(server, "app", None)
        if self._begun or not isinstance(app, web.Application) or app.frozen:
            return
        self._begun = True
        app.on_startup.append(self._on_startup)
        table: Any = server.routes  # type: ignore[union-attr]
        table.route("*", PREFIX + "/{pack}/{rest:.*}")(self.routes.direct)
        for action in ACTIONS:
            table.post(f"{PREFIX}/{action}")(_coded(functools.partial(self.act, action)))
        table.post(f"{PREFIX}/reload")(_coded(self.reload))
        sandbox_source.set_source(self.describe)
        sandbox_source.set_kept(self.supervisor.idle_bytes)

    async def _on_startup(self, app: web.Application) -> None:
        """Add the innermost middlewares, once all other middlewares and routes are there."""
        app.middlewares.append(self.guard)
        app.middlewares.append(self.routes.middleware)
        known = {
            (route.method, route.resource.canonical)
            for route in app.router.routes()
            if route.resource
        }
        for entry in self.routes.entries.values():
            self._log_conflicts(entry, known)
            if entry.pack.rule.eager:
                start = functools.partial(self.routes.forwarder.start, entry.pack)
                threading.Thread(target=start, name="zimage-eager", daemon=True).start()

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse requests for which ComfyUI would follow links out of packs, see :mod:`.links`."""
        if links.shown(request.path):
            import folder_paths

            folders = folder_paths.get_folder_paths("custom_nodes")
            leaks = await in_thread(lambda: links.leaking(folders, self.place))
            if leaks:
                error = ZImageError("ZI-SANDBOX-LINK", found=", ".join(leaks[:5]))
                log.warning("%s", error)
                return refusal(error)
        return await handler(request)

    @staticmethod
    def _log_conflicts(entry: Entry, known: set[tuple[str, str]]) -> None:
        """Log which of a pack's paths another route serves, and where the pack's are instead."""
        name = entry.pack.name
        for method, path in entry.shown:
            if (method, path) in known:
                instead = f"{PREFIX}/{name}{path}"
                log.warning("Z-Image: %s %s is not of %s: see %s", method, path, name, instead)

    def add(self, pack: Pack, info: m.PackInfo, path: str) -> None:
        """Serve the routes and folders of a pack, except those that it must not have."""
        nodes: Any = importlib.import_module("nodes")
        folders = Folders(pack.name, path)
        if any(links.outward(path, links.WORKFLOWS)):  # ComfyUI would follow them
            nodes.LOADED_MODULE_DIRS.pop(nodes.get_module_name(path), None)
            folders.refuse("example_workflows")
        taken = {*nodes.EXTENSION_WEB_DIRS, *_page_extensions()}
        nodes.EXTENSION_WEB_DIRS.update(folders.page(info, taken))
        self.routes.add(pack, info, folders.static(info))
        self.findings += folders.findings
        for finding in folders.findings:
            log.warning("%s", finding)

    def describe(self) -> dict[str, Any]:
        """Return the state for ``/health``, ``/metrics`` and the panel."""
        served = self.routes.entries
        return describe(self.supervisor, self.rules, self.findings, served, self.memory)

    async def act(self, action: str, request: web.Request) -> web.Response:
        """Handle ``POST /zimage/sandbox/lift``, ``stop`` or ``restart`` with ``{"pack": …}``."""
        name = str((await _json_body(request)).get("pack", ""))[:200]
        pack = self.supervisor.packs.get(name)
        if pack is None:
            known = ", ".join(self.supervisor.packs) or "-"
            raise ZImageError("ZI-SANDBOX-UNKNOWN", found=name, expected=known)
        log.warning("Z-Image: sandbox of %s: %s, as asked for in the page", name, action)
        await in_thread(functools.partial(_act, action, pack))
        return web.json_response({"pack": name, **self.describe()["packs"][name]})

    async def reload(self, request: web.Request) -> web.Response:
        """Handle ``POST /zimage/sandbox/reload``: read ``sandbox.toml`` now."""
        await _json_body(request)
        await in_thread(self.rules.reload)
        return web.json_response({"restart_for": restart_for(self.supervisor, self.rules)})


def _act(action: str, pack: Pack) -> None:
    """Lift the quarantine or stop the process; start it again unless the action is ``stop``."""
    if action == "lift":
        pack.lift()
    else:
        pack.stop()
    if action != "stop":
        pack.ready()


async def _json_body(request: web.Request) -> dict[str, Any]:
    """Return the body of a request of ComfyUI's own page: forms of other sites cannot send JSON.

    Raises:
        ZImageError: the request is from another site, or not JSON.
    """
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise ZImageError("ZI-ORIGIN", found=request.headers.get("Origin", "-")[:200])
    if request.content_type != "application/json":
        raise ZImageError("ZI-REQUEST-TYPE", found=request.content_type[:200])
    return parse(await read(request, LARGEST_REQUEST))


def _coded(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ZImageError as error:
            return refusal(error)

    return answer


def _page_extensions() -> list[str]:
    """Return the names below ``/extensions/`` that the page itself uses."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    folder = os.path.join(getattr(server, "web_root", ""), "extensions")
    return os.listdir(folder) if os.path.isdir(folder) else []

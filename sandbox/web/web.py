"""What packs in sandboxes have in ComfyUI's server, and what a person can ask about them there."""

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
from ...patches.monitoring import sandbox_source
from ..policy.reload import ReloadablePolicy
from ..protocol import messages as m
from . import links
from .folders import Folders
from .forward import in_thread
from .routes import PREFIX, Entry, Handler, Routes, refusal
from .state import Memory, describe, restart_for

if TYPE_CHECKING:
    from ..host.pack import Pack
    from ..host.supervisor import Supervisor
    from ..policy.policy import Policy

log = logging.getLogger(__name__)

LARGEST_QUESTION = 64 * 2**10
DEEDS = ("lift", "stop", "restart")


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
        self.memory = Memory()
        self._begun = False

    def begin(self) -> None:
        """Join the server, if there is one by now; to be called before each pack is loaded."""
        server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
        app: Any = getattr(server, "app", None)
        if self._begun or not isinstance(app, web.Application) or app.frozen:
            return
        self._begun = True
        app.on_startup.append(self._last)
        table: Any = server.routes  # type: ignore[union-attr]
        table.route("*", PREFIX + "/{pack}/{rest:.*}")(self.routes.direct)
        for deed in DEEDS:
            table.post(f"{PREFIX}/{deed}")(_safely(functools.partial(self.act, deed)))
        table.post(f"{PREFIX}/reload")(_safely(self.reload))
        sandbox_source.tell(self.describe)
        sandbox_source.count(self.supervisor.kept)

    async def _last(self, app: web.Application) -> None:
        """Once all is there: behind every middleware, and behind every route."""
        app.middlewares.append(self.guard)
        app.middlewares.append(self.routes.middleware)
        known = {
            (one.method, one.resource.canonical) for one in app.router.routes() if one.resource
        }
        for entry in self.routes.entries.values():
            self._tell(entry, known)
            if entry.pack.rule.eager:
                start = functools.partial(self.routes.forwarder.start, entry.pack)
                threading.Thread(target=start, name="zimage-eager", daemon=True).start()

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keeps ComfyUI from reading files of yours for the page, see :mod:`.links`."""
        if links.shown(request.path):
            import folder_paths

            folders = folder_paths.get_folder_paths("custom_nodes")
            found = await in_thread(lambda: links.leaking(folders, self.place))
            if found:
                error = ZImageError("ZI-SANDBOX-LINK", found=", ".join(found[:5]))
                log.warning("%s", error)
                return refusal(error)
        return await handler(request)

    @staticmethod
    def _tell(entry: Entry, known: set[tuple[str, str]]) -> None:
        """Which of a pack's paths are somebody else's."""
        name = entry.pack.name
        for method, path in entry.shown:
            if (method, path) in known:
                place = f"{PREFIX}/{name}{path}"
                log.warning("Z-Image: %s %s is not of %s: see %s", method, path, name, place)

    def add(self, pack: Pack, info: m.PackInfo, path: str) -> None:
        """Serve what a pack has, as far as that is its own to have."""
        nodes: Any = importlib.import_module("nodes")
        folders = Folders(pack.name, path)
        if any(links.outward(path, links.WORKFLOWS)):  # ComfyUI would serve where they lead
            nodes.LOADED_MODULE_DIRS.pop(nodes.get_module_name(path), None)
            folders.refuse("example_workflows")
        taken = {*nodes.EXTENSION_WEB_DIRS, *_page()}
        nodes.EXTENSION_WEB_DIRS.update(folders.page(info, taken))
        self.routes.add(pack, info, folders.static(info))
        self.findings += folders.findings
        for one in folders.findings:
            log.warning("%s", one)

    def describe(self) -> dict[str, Any]:
        """For ``/health``, ``/metrics`` and the panel."""
        served = self.routes.entries
        return describe(self.supervisor, self.rules, self.findings, served, self.memory)

    async def act(self, deed: str, request: web.Request) -> web.Response:
        """``POST /zimage/sandbox/lift``, ``stop`` or ``restart``: ``{"pack": …}``."""
        name = str((await _question(request)).get("pack", ""))[:200]
        pack = self.supervisor.packs.get(name)
        if pack is None:
            known = ", ".join(self.supervisor.packs) or "-"
            raise ZImageError("ZI-SANDBOX-UNKNOWN", found=name, expected=known)
        log.warning("Z-Image: sandbox of %s: %s, as asked for in the page", name, deed)
        await in_thread(functools.partial(_do, deed, pack))
        return web.json_response({"pack": name, **self.describe()["packs"][name]})

    async def reload(self, request: web.Request) -> web.Response:
        """``POST /zimage/sandbox/reload``: read ``sandbox.toml`` now."""
        await _question(request)
        await in_thread(self.rules.reload)
        return web.json_response({"restart_for": restart_for(self.supervisor, self.rules)})


def _do(deed: str, pack: Pack) -> None:
    """Do it and, except for ``stop``, see that the pack is there again."""
    if deed == "lift":
        pack.lift()
    else:
        pack.stop()
    if deed != "stop":
        pack.ready()


async def _question(request: web.Request) -> dict[str, Any]:
    """The body of a request of ComfyUI's own page: no form of another site can send JSON."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise ZImageError("ZI-ORIGIN", found=request.headers.get("Origin", "-")[:200])
    if request.content_type != "application/json":
        raise ZImageError("ZI-REQUEST-TYPE", found=request.content_type[:200])
    return parse(await read(request, LARGEST_QUESTION))


def _safely(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ZImageError as error:
            return refusal(error)

    return answer


def _page() -> list[str]:
    """Names below ``/extensions/`` that are the page's own."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    folder = os.path.join(getattr(server, "web_root", ""), "extensions")
    return os.listdir(folder) if os.path.isdir(folder) else []

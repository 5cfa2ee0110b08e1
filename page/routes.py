"""Two requests for the page, and its list of templates without the broken ones.

Everything here is an extra: a host that is not as expected, or a failure of a check, is logged
once and leaves the host as it was.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from ..config import PACK_DIR
from ..errors import ZImageError
from ..http_body import read
from ..validator.check import check_bytes
from . import live
from .questions import LARGEST_PROMPT, LARGEST_WORKFLOW, question, refusal
from .templates import ENGINE, Templates, without
from .tokens import Tokenizers, count

log = logging.getLogger(__name__)

LISTS = frozenset({"/workflow_templates", "/api/workflow_templates"})
NO_WORKFLOW = ("ZI-WF-JSON", "ZI-WF-PICTURE")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Page:
    """The handlers of one pack; each kind of work has one thread, so none piles up on the host."""

    def __init__(self) -> None:
        self.templates = Templates(PACK_DIR / "workflows", live.knowledge)
        self.tokenizers = Tokenizers()
        self.listing = ThreadPoolExecutor(1, "zimage-templates")
        self.checking = ThreadPoolExecutor(1, "zimage-check")
        self.counting = ThreadPoolExecutor(1, "zimage-count")
        self._told: set[str] = set()

    async def validate(self, request: web.Request) -> web.Response:
        """``POST /zimage/validate``: a workflow or a prompt in API form → findings."""
        data = await read(request, LARGEST_WORKFLOW)
        result = await _in(
            self.checking, lambda: check_bytes(data, live.knowledge(), engine=ENGINE)
        )
        found = [
            {
                "code": entry.code,
                "severity": entry.severity,
                "node": entry.node,
                "title": entry.title,
                "input": entry.input,
                "zh": entry.chinese,
                "en": entry.english,
            }
            for entry in result.findings
        ]
        if found and found[0]["code"] in NO_WORKFLOW:
            return refusal(400, **{key: found[0][key] for key in ("code", "zh", "en")})
        return web.json_response({"ok": result.ok, "findings": found})

    async def tokens(self, request: web.Request) -> web.Response:
        """``POST /zimage/tokens``: ``{"text": …, "encoder": "qwen3" or "dual"}`` → counts.

        For ``dual`` also ``"bert"``, the name of its file: words that it lacks count otherwise.
        """
        data = await read(request, LARGEST_PROMPT)
        text, encoder, bert = question(data)

        def answer() -> dict[str, Any]:
            return count(text, encoder, self.tokenizers, live.text_encoder(bert))

        return web.json_response(await _in(self.counting, answer))

    def safely(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        """A handler whose failures are answered in JSON, with a code, and never with 500."""

        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except ZImageError as error:
                status = {"ZI-REQUEST-LARGE": 413, "ZI-TOKENIZER": 503}.get(error.code, 400)
                return refusal(status, error.code, error.chinese, error.english)
            except Exception as error:
                if self._first(request.path):
                    log.exception("Z-Image: %s failed", request.path)
                failed = ZImageError("ZI-PAGE-FAILED", found=type(error).__name__)
                return refusal(503, failed.code, failed.chinese, failed.english)

        return answer

    async def start(self, _app: web.Application) -> None:
        """Begins the check of the templates when the host is up; nobody waits for it."""
        self.listing.submit(self._broken)

    @web.middleware
    async def hide_broken(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Leaves broken templates out of the host's list; the rest is as the host made it."""
        response = await handler(request)
        if request.path in LISTS and request.method == "GET":
            try:
                await self._thin_out(response)
            except Exception:
                if self._first("list"):
                    log.exception("Z-Image: the list of templates is left as it was")
        return response

    async def _thin_out(self, response: web.StreamResponse) -> None:
        if not isinstance(response, web.Response) or response.status != 200:
            return
        broken = await _in(self.listing, self._broken)
        if broken and response.text:
            listed = without(json.loads(response.text), PACK_DIR.name, broken)
            response.text = json.dumps(listed)

    def _broken(self) -> frozenset[str]:
        try:
            return self.templates.broken()
        except Exception:
            if self._first("templates"):
                log.exception("Z-Image: bundled templates could not be checked")
            return frozenset()

    def _first(self, topic: str) -> bool:
        """True the first time: a failure that repeats is logged once."""
        seen = topic in self._told
        self._told.add(topic)
        return not seen


def install() -> None:
    """Add the requests and the template check to the running host's server, if there is one."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    app: Any = getattr(server, "app", None)
    routes: Any = getattr(server, "routes", None)
    if not isinstance(app, web.Application) or not isinstance(routes, web.RouteTableDef):
        return  # a test, or a host that serves its page in another way
    if app.frozen:
        log.warning("Z-Image: the server is running already; templates are not checked")
        return
    page = Page()
    taken = {getattr(route, "path", None) for route in routes}
    for path, handler in (("/zimage/validate", page.validate), ("/zimage/tokens", page.tokens)):
        if path not in taken:  # by another copy of this pack; aiohttp would refuse to start
            routes.post(path)(page.safely(handler))
    app.middlewares.append(page.hide_broken)
    app.on_startup.append(page.start)


async def _in(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(pool, work)

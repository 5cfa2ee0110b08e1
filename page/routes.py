"""Two requests for the page, and its list of templates without the broken ones.

All of it is optional: on an unexpected host, or after a failed check, one message is logged and the
host works without it.
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
    """The request handlers. Each kind of work has one thread, which limits the load of the host."""

    def __init__(self) -> None:
        self.templates = Templates(PACK_DIR / "workflows", live.knowledge)
        self.tokenizers = Tokenizers()
        self.listing = ThreadPoolExecutor(1, "zimage-templates")
        self.checking = ThreadPoolExecutor(1, "zimage-check")
        self.counting = ThreadPoolExecutor(1, "zimage-count")
        self._logged: set[str] = set()

    async def validate(self, request: web.Request) -> web.Response:
        """Handle ``POST /zimage/validate``: a workflow or a prompt in API form → findings."""
        data = await read(request, LARGEST_WORKFLOW)
        result = await _in(
            self.checking, lambda: check_bytes(data, live.knowledge(), engine=ENGINE)
        )
        findings = [
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
        if findings and findings[0]["code"] in NO_WORKFLOW:
            return refusal(400, **{key: findings[0][key] for key in ("code", "zh", "en")})
        return web.json_response({"ok": result.ok, "findings": findings})

    async def tokens(self, request: web.Request) -> web.Response:
        """Handle ``POST /zimage/tokens``: ``{"text": …, "encoder": "qwen3" or "dual"}`` → counts.

        For ``dual``, ``"bert"`` may name the BERT file, whose vocabulary affects the counts.
        """
        data = await read(request, LARGEST_PROMPT)
        text, encoder, bert = question(data)

        def answer() -> dict[str, Any]:
            return count(text, encoder, self.tokenizers, live.text_encoder(bert))

        return web.json_response(await _in(self.counting, answer))

    def safely(self, handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        """Wrap a handler so that its errors become JSON responses with a code, never 500."""

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
        """Start the check of the templates in the background."""
        self.listing.submit(self._broken)

    @web.middleware
    async def hide_broken(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Remove broken templates from the host's list."""
        response = await handler(request)
        if request.path in LISTS and request.method == "GET":
            try:
                await self._remove_broken(response)
            except Exception:
                if self._first("list"):
                    log.exception("Z-Image: broken templates are not removed from the list")
        return response

    async def _remove_broken(self, response: web.StreamResponse) -> None:
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
        """Return True at the first call for a topic, so that a repeated failure is logged once."""
        is_first = topic not in self._logged
        self._logged.add(topic)
        return is_first


def install() -> None:
    """Add the requests and the template check to the running server, if there is one."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    app: Any = getattr(server, "app", None)
    routes: Any = getattr(server, "routes", None)
    if not isinstance(app, web.Application) or not isinstance(routes, web.RouteTableDef):
        return  # a test, or a host with another kind of server
    if app.frozen:
        log.warning("Z-Image: the server is running already; templates are not checked")
        return
    page = Page()
    taken = {getattr(route, "path", None) for route in routes}
    for path, handler in (("/zimage/validate", page.validate), ("/zimage/tokens", page.tokens)):
        if path not in taken:  # another copy of this pack may have added the same route
            routes.post(path)(page.safely(handler))
    app.middlewares.append(page.hide_broken)
    app.on_startup.append(page.start)


async def _in(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(pool, work)

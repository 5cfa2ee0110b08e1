"""The request fuse: requests are judged before the host's handlers see them.

The middleware reads the body once, within limits, and hands it on. It also answers errors that
other parts raise while a request is handled (a full queue, a full disk). Each event is one line in
the log of :mod:`..base.refusals`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aiohttp import web

from ... import http_body
from ...config import Settings
from ...errors import ZImageError
from ..base import comfyui, refusals
from ..base.limits import DEFAULTS, MIB, request_limits
from ..base.middleware_slot import Handler, MiddlewarePart, Slot
from ..base.registry import About
from . import prompt_checks, request_checks

JSON = frozenset({"/prompt", "/queue", "/history", "/interrupt", "/free"})
"""Requests of the host whose body is JSON."""

ABOUT = About(
    part="fuse",
    bare_host="A malformed prompt causes 500. A character set in the header makes another prompt "
    "of the bytes that were checked. 16384² × 4096 is accepted.",
    here="400 with a code in the client's language; sizes are reduced to 4096; the work of all "
    "samplers is limited; each refusal is in `fuse.jsonl`.",
)


def create(slot: Slot) -> Fuse:
    """Return the middleware for the running server."""
    limits = request_limits(Settings.from_environment().limits)
    names = ("side", "batch", "steps", "work")
    bounds = prompt_checks.Bounds(**{name: limits[name] for name in names})
    return Fuse(slot, comfyui.folder(), bounds, limits["body"] * MIB)


class Fuse(MiddlewarePart):
    """The middleware and its log.

    Args:
        slot: its place.
        folder: where the log is.
        bounds: of sizes, batches, steps and work.
        largest: bytes of a JSON body.
    """

    def __init__(
        self,
        slot: Slot,
        folder: Path,
        bounds: prompt_checks.Bounds | None = None,
        largest: int = DEFAULTS["body"] * MIB,
    ) -> None:
        super().__init__(slot)
        self.log = folder / refusals.LOG
        self.largest = largest
        self.bounds = bounds or prompt_checks.Bounds()

    def check(self) -> None:
        """Check the slot, and that a body can be handed on; raises ``ZI-PATCH-SEAM``."""
        super().check()
        if not hasattr(web.BaseRequest, "_read_bytes"):
            raise ZImageError(
                "ZI-PATCH-SEAM", name="aiohttp.web.BaseRequest", found="-", expected="_read_bytes"
            )

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Judge a request; hand it on or answer it."""
        path = request.path.removeprefix("/api")
        changes: list[dict[str, Any]] = []
        try:
            if request.method == "POST" and path in JSON:
                changes = await self._judge(request)
            response = await handler(request)
        except ZImageError as error:
            return refusals.refuse(request, error, self.log)
        except web.HTTPMethodNotAllowed as error:
            if path not in JSON:
                raise
            return self._refuse_method(request, sorted(error.allowed_methods))
        if changes and isinstance(response, web.Response) and response.status == 200:
            self._report_changes(request, response, changes)
        return response

    def _refuse_method(self, request: web.Request, methods: list[str]) -> web.Response:
        allowed = ", ".join(methods)
        error = ZImageError("ZI-REQUEST-METHOD", found=request.method, expected=allowed)
        response = refusals.refuse(request, error, self.log)
        response.headers["Allow"] = allowed
        return response

    def _report_changes(
        self, request: web.Request, response: web.Response, changes: list[dict[str, Any]]
    ) -> None:
        """Add to the host's answer what was changed in the prompt."""
        answer = json.loads(response.text or "{}")
        response.text = json.dumps({**answer, "zimage": {"clamped": changes}})
        id = answer.get("prompt_id") or refusals.request_id(request)
        refusals.log_event(self.log, id, request.path, "ZI-CLAMPED", "clamped")

    async def _judge(self, request: web.Request) -> list[dict[str, Any]]:
        """Return what was changed in a prompt; raise for a request that is refused."""
        content_type = request.content_type
        if "Origin" in request.headers and "json" not in content_type:  # a form of another site
            raise ZImageError("ZI-REQUEST-TYPE", found=content_type)
        data = await request_checks.read(request, self.largest)
        if not data and request.path.endswith("/interrupt"):
            return []
        body = http_body.parse(data)
        if request.path.endswith(("/queue", "/history")):
            request_checks.check_ids(body)
        if not request.path.endswith("/prompt"):
            return []
        prompt_checks.check_prompt(body)
        changes = prompt_checks.clamp(body.get("prompt", {}), self.bounds)
        if changes:
            body.setdefault("extra_data", {})["zimage_clamped"] = changes
            request._read_bytes = json.dumps(body).encode()
        return changes

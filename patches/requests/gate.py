"""A middleware that may refuse a request, as one part of the hardening."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ..base import comfyui
from . import fuse

Judge = Callable[[web.Request], Awaitable[None]]


class Gate:
    """Has every request judged; what the judge raises is answered as the fuse would.

    Args:
        server: the host's ``PromptServer``.
        judge: raises :class:`ZImageError` for what is refused.
        outermost: before the host's own middlewares (True), or after its judgement of origins.
    """

    def __init__(self, server: Any, judge: Judge, outermost: bool = False) -> None:
        self.server, self.judge, self.outermost = server, judge, outermost
        self.active = False

    def check(self) -> None:
        """Whether it could be applied; raises ``ZI-PATCH-SEAM`` once the server serves."""
        if self.server.app.frozen and self.handle not in self.server.app.middlewares:
            raise ZImageError("ZI-PATCH-SEAM", name="PromptServer.app", found="frozen",
                              expected="middlewares.append")  # fmt: skip

    def apply(self) -> None:
        """Add the middleware, once."""
        self.check()
        middlewares = self.server.app.middlewares
        if self.handle not in middlewares:
            middlewares.insert(0 if self.outermost else len(middlewares), self.handle)
        self.active = True

    def revert(self) -> None:
        """Let everything through."""
        self.active = False

    @web.middleware
    async def handle(self, request: web.Request, handler: fuse.Handler) -> web.StreamResponse:
        """Judge, and hand on or answer."""
        if self.active:
            try:
                await self.judge(request)
            except ZImageError as error:
                fuse.note(comfyui.folder() / fuse.LOG, request, error.code, "refused")
                return fuse.refusal(request, error)
        return await handler(request)

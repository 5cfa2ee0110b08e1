"""The building blocks of middlewares; their order is in ``requests/pipeline.py``.

A slot holds one middleware. A part fills and empties only the slots that it gets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

from ...errors import ZImageError
from . import refusals

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
Judge = Callable[[web.Request], Awaitable[None]]
Concerns = Callable[[web.Request], bool]


class Slot:
    """A slot for one middleware; requests pass an empty slot unchanged.

    Attributes:
        name: of the middleware.
        middleware: called for every request, None while the slot is empty.
        installed: True once the application calls :meth:`handle`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.middleware: Middleware | None = None
        self.installed = False

    def check(self) -> None:
        """Check that a middleware here would be called.

        Raises:
            ZImageError: ``ZI-PATCH-SEAM`` when the server served before the pack was loaded.
        """
        if not self.installed:
            raise ZImageError(
                "ZI-PATCH-SEAM",
                name="PromptServer.app",
                found="frozen",
                expected="middlewares.append",
            )

    def fill(self, middleware: Middleware) -> None:
        """Have a middleware called from now on; raises as :meth:`check`."""
        self.check()
        self.middleware = middleware

    def clear(self) -> None:
        """Let requests pass unchanged from now on."""
        self.middleware = None

    @web.middleware
    def handle(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Call the middleware, or hand the request on."""
        middleware = self.middleware
        return handler(request) if middleware is None else middleware(request, handler)


class MiddlewarePart:
    """A part of the hardening that is one middleware.

    Args:
        slot: holds its middleware.
    """

    def __init__(self, slot: Slot) -> None:
        self.slot = slot

    @property
    def active(self) -> bool:
        """True while requests reach it."""
        return self.slot.middleware == self.handle

    def check(self) -> None:
        """Check that it could be applied; raises ``ZI-PATCH-SEAM``."""
        self.slot.check()

    def apply(self) -> None:
        """Fill the slot; raises as :meth:`check`."""
        self.check()
        self.slot.fill(self.handle)

    def revert(self) -> None:
        """Empty the slot."""
        if self.active:
            self.slot.clear()

    def handle(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Handle a request, or hand it on."""
        return handler(request)


class Gate(MiddlewarePart):
    """Calls a judge before a request is handled, and answers what the judge raises.

    Args:
        slot: holds its middleware.
        judge: raises :class:`ZImageError` for a request that is refused.
        concerns: returns whether a request is judged.
    """

    def __init__(
        self, slot: Slot, judge: Judge, concerns: Concerns = lambda _request: True
    ) -> None:
        super().__init__(slot)
        self.judge = judge
        self.concerns = concerns

    def handle(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Judge a request that concerns the judge; hand it on or answer it."""
        return self._judge_first(request, handler) if self.concerns(request) else handler(request)

    async def _judge_first(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            await self.judge(request)
        except ZImageError as error:
            return refusals.refuse(request, error)
        return await handler(request)


def posts_to(paths: Collection[str]) -> Concerns:
    """Return a function that returns whether a request is a ``POST`` to one of these paths."""

    def concerns(request: web.Request) -> bool:
        return request.method == "POST" and request.path.removeprefix("/api") in paths

    return concerns

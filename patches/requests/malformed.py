"""Malformed requests to the rest of the host's routes are the client's fault, and told so.

What can be seen beforehand is judged beforehand (:mod:`.inputs`). For the rest the host's own
handlers are trusted to fall over: an error of the kind that malformed input causes, raised in the
handler of one of :data:`ROUTES`, is answered with 400 and a code, and its traceback is in the log.
Everything else (missing permissions, a bug of a middleware, routes of other packs, ``POST
/prompt``) stays the 500 that it is, and a full disk is told by :mod:`.room`.
"""

from __future__ import annotations

import errno
import inspect
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ...config import Settings
from ...errors import ZImageError
from ...http_body import parse, unfit
from ..base import comfyui
from ..base.hooks import Patches
from . import fuse, paths, request_checks
from .gate import Gate

log = logging.getLogger(__name__)

PREVIEW = "/experiment/models/preview/{folder}/{path_index}/{filename}"
ROUTES = frozenset({
    "/users", "/userdata", "/v2/userdata", "/userdata/{file}", "/userdata/{file}/move/{dest}",
    "/settings", "/settings/{id}", "/upload/image", "/upload/mask", "/view",
    "/view_metadata/{folder_name}", "/models/{folder}", "/experiment/models/{folder}", PREVIEW,
    "/internal/logs/subscribe", "/templates/{path}",
})  # fmt: skip
"""What does as the request says, and keeps no prompts; files of the page count, too."""
CAUSED = (ValueError, TypeError, LookupError, AttributeError, UnboundLocalError, RecursionError,
          web.RequestPayloadError)  # fmt: skip
"""Errors that malformed input causes, those of names of files aside."""
NUMBERS = frozenset({
    None, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT,
    errno.EINVAL, errno.ELOOP, errno.ENOTEMPTY,
})  # fmt: skip
"""Of an ``OSError``, where the name is wrong. None: Pillow's and shutil's own."""


def create() -> Patches:
    """Both middlewares of the running server."""
    server = comfyui.server()
    largest = fuse.limits(Settings.from_environment().limits)["body"] * fuse.MIB
    return Patches(Blame(server), Gate(server, Judges(largest)))


class Judges:
    """What is seen before the handler; ``largest`` is bytes of a JSON body."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.by_route: dict[tuple[str, str], Callable[[web.Request], Awaitable[None]]] = {
            ("POST", "/users"): self.user,
            ("POST", "/settings"): self.settings,
            ("POST", "/settings/{id}"): self.setting,
            ("PATCH", "/internal/logs/subscribe"): self.subscription,
            ("POST", "/upload/image"): request_checks.check_upload,
            ("POST", "/upload/mask"): request_checks.check_upload,
            ("GET", PREVIEW): check_preview,
        }

    async def __call__(self, request: web.Request) -> None:
        """Raises :class:`ZImageError` for what the handler cannot use."""
        judge = self.by_route.get((request.method.replace("HEAD", "GET"), route(request)))
        if judge is not None:
            await judge(request)

    async def user(self, request: web.Request) -> None:
        """``POST /users``."""
        request_checks.check_fields(
            parse(await request_checks.read(request, self.largest)), {"username": str}
        )

    async def settings(self, request: web.Request) -> None:
        """``POST /settings``."""
        parse(await request_checks.read(request, self.largest))

    async def setting(self, request: web.Request) -> None:
        """``POST /settings/{id}``."""
        request_checks.check_value(await request_checks.read(request, self.largest))

    async def subscription(self, request: web.Request) -> None:
        """``PATCH /internal/logs/subscribe``."""
        body = parse(await request_checks.read(request, self.largest))
        request_checks.check_fields(body, {"clientId": str, "enabled": (bool, int)})


class Blame(Gate):
    """The outermost middleware; whom an error is blamed on decides between 400 and 500."""

    def __init__(self, server: Any) -> None:
        super().__init__(server, _addresses, outermost=True)

    @web.middleware
    async def handle(self, request: web.Request, handler: fuse.Handler) -> web.StreamResponse:
        """Judge the addresses, hand on, answer."""
        try:
            return await super().handle(request, handler)
        except Exception as error:
            if not (self.active and caused(request, error)):
                raise
            log.warning("Z-Image: %s %r", request.method, request.path, exc_info=True)
            refused = ZImageError("ZI-REQUEST-FAILED", found=type(error).__name__)
            fuse.note(comfyui.folder() / fuse.LOG, request, refused.code, "refused")
            return fuse.refusal(request, refused)


def caused(request: web.Request, error: Exception) -> bool:
    """Whether a request has caused an error, as far as one can tell."""
    static = isinstance(request.match_info.route.resource, web.StaticResource)
    if not static and route(request) not in ROUTES:
        return False
    if isinstance(error, OSError):
        mine = not isinstance(error, ConnectionError) and error.errno in NUMBERS
    else:
        mine = isinstance(error, CAUSED)
    return mine and _raised_in(request.match_info.handler, error)


def route(request: web.Request) -> str:
    """The path of a request's route, without ``/api``; empty where there is none."""
    resource = request.match_info.route.resource
    return resource.canonical.removeprefix("/api") if resource is not None else ""


async def check_preview(request: web.Request) -> None:
    """The picture of a model is one of its folder; the bare host shows any of the disk.

    Raises:
        ZImageError: ``ZI-REQUEST`` for a folder's number, ``ZI-PATH``.
    """
    asked = request.match_info
    shared = sys.modules["folder_paths"].folder_names_and_paths.get(asked["folder"])
    if shared is None:  # the host says 404
        return
    try:
        folder = shared[0][int(asked["path_index"])]
    except (ValueError, IndexError):
        found = f"path_index: {asked['path_index']!r:.60}"
        raise unfit(found, f"path_index: 0 … {len(shared[0]) - 1}") from None
    if not paths.inside(asked["filename"], folder):
        raise ZImageError("ZI-PATH", found=asked["filename"][:200], expected=asked["folder"])


def _raised_in(handler: Any, error: Exception) -> bool:
    code = getattr(inspect.unwrap(handler), "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


async def _addresses(request: web.Request) -> None:
    request_checks.check_address(request.headers)

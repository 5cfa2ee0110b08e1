"""Malformed requests to the host's routes are answered with 400 and a code instead of 500.

What can be checked before the handler is checked there (:mod:`.request_checks`). The rest is seen
when the host's own handler fails: an error of a kind that malformed input causes, raised in the
handler of one of :data:`ROUTES`, is answered with 400 and a code, and its traceback is logged. All
other errors (missing permissions, bugs of a middleware, routes of other packs, ``POST /prompt``)
stay 500, and :mod:`.disk_admission` answers a full disk.
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
from ..base import refusals
from ..base.hooks import Patches
from ..base.limits import MIB, request_limits
from ..base.middleware_slot import Gate, Handler, Slot
from ..base.registry import About
from . import paths, request_checks

log = logging.getLogger(__name__)

PREVIEW = "/experiment/models/preview/{folder}/{path_index}/{filename}"
ROUTES = frozenset(
    {
        "/users",
        "/userdata",
        "/v2/userdata",
        "/userdata/{file}",
        "/userdata/{file}/move/{dest}",
        "/settings",
        "/settings/{id}",
        "/upload/image",
        "/upload/mask",
        "/view",
        "/view_metadata/{folder_name}",
        "/models/{folder}",
        "/experiment/models/{folder}",
        PREVIEW,
        "/internal/logs/subscribe",
        "/templates/{path}",
    }
)
"""Routes whose errors depend on the request alone; files of the page belong to them, too."""
INPUT_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    UnboundLocalError,
    RecursionError,
    web.RequestPayloadError,
)
"""Errors that malformed input causes; for ``OSError`` see :data:`NAME_ERRORS`."""
NAME_ERRORS = frozenset(
    {
        None,
        errno.ENAMETOOLONG,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.EEXIST,
        errno.ENOENT,
        errno.EINVAL,
        errno.ELOOP,
        errno.ENOTEMPTY,
    }
)
"""``errno`` of an ``OSError`` that a wrong name causes. None: raised by Pillow and shutil."""

ABOUT = About(
    part="malformed",
    bare_host="Malformed forms, names, paths and addresses cause 500 (`/users`, `/settings`, "
    "`/userdata`, `/upload`, `/view`, files of the page). `/experiment/models/preview` shows any "
    "picture of the disk.",
    here="400 with a code (`request_checks.py` checks beforehand). In ComfyUI's own handlers, "
    "errors of the kinds that malformed input causes count as such, with the traceback in the "
    "log. Missing permissions and bugs stay 500.",
)


def create(errors: Slot, slot: Slot) -> Patches:
    """Return both middlewares for the running server.

    Args:
        errors: the outermost place.
        slot: the place of the checks, inside the host's own middlewares.
    """
    largest = request_limits(Settings.from_environment().limits)["body"] * MIB
    judge = RequestJudge(largest)
    return Patches(InputErrors(errors), Gate(slot, judge, judge.concerns))


class RequestJudge:
    """Checks requests before their handler.

    Args:
        largest: bytes of a JSON body.
    """

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

    def concerns(self, request: web.Request) -> bool:
        """Return whether there is a check for the route of a request."""
        return _key(request) in self.by_route

    async def __call__(self, request: web.Request) -> None:
        """Raise :class:`ZImageError` for a request that its handler cannot use."""
        await self.by_route[_key(request)](request)

    async def user(self, request: web.Request) -> None:
        """Check ``POST /users``."""
        body = parse(await request_checks.read(request, self.largest))
        request_checks.check_fields(body, {"username": str})

    async def settings(self, request: web.Request) -> None:
        """Check ``POST /settings``."""
        parse(await request_checks.read(request, self.largest))

    async def setting(self, request: web.Request) -> None:
        """Check ``POST /settings/{id}``."""
        request_checks.check_value(await request_checks.read(request, self.largest))

    async def subscription(self, request: web.Request) -> None:
        """Check ``PATCH /internal/logs/subscribe``."""
        body = parse(await request_checks.read(request, self.largest))
        request_checks.check_fields(body, {"clientId": str, "enabled": (bool, int)})


class InputErrors(Gate):
    """Checks addresses first, and answers errors that the request has caused.

    Args:
        slot: the outermost place.
    """

    def __init__(self, slot: Slot) -> None:
        super().__init__(slot, _judge_address)

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Judge the addresses and hand the request on; answer what it causes."""
        try:
            return await super().handle(request, handler)
        except Exception as error:
            if not is_caused_by(request, error):
                raise
            log.warning("Z-Image: %s %r", request.method, request.path, exc_info=True)
            failed = ZImageError("ZI-REQUEST-FAILED", found=type(error).__name__)
            return refusals.refuse(request, failed)


def is_caused_by(request: web.Request, error: Exception) -> bool:
    """Return whether a request has caused an error, as far as its type and place show."""
    static = isinstance(request.match_info.route.resource, web.StaticResource)
    if not static and route(request) not in ROUTES:
        return False
    if isinstance(error, OSError):
        typical = not isinstance(error, ConnectionError) and error.errno in NAME_ERRORS
    else:
        typical = isinstance(error, INPUT_ERRORS)
    return typical and _raised_in(request.match_info.handler, error)


def _key(request: web.Request) -> tuple[str, str]:
    return request.method.replace("HEAD", "GET"), route(request)


def route(request: web.Request) -> str:
    """Return the path of a request's route, without ``/api``; empty where there is none."""
    resource = request.match_info.route.resource
    return resource.canonical.removeprefix("/api") if resource is not None else ""


async def check_preview(request: web.Request) -> None:
    """Check that a model's picture is in the model's folder; the host shows any of the disk.

    Raises:
        ZImageError: ``ZI-REQUEST`` for a folder's number, ``ZI-PATH``.
    """
    fields = request.match_info
    entry = sys.modules["folder_paths"].folder_names_and_paths.get(fields["folder"])
    if entry is None:  # the host answers 404
        return
    folders = entry[0]
    try:
        folder = folders[int(fields["path_index"])]
    except (ValueError, IndexError):
        found = f"path_index: {fields['path_index']!r:.60}"
        raise unfit(found, f"path_index: 0 … {len(folders) - 1}") from None
    if not paths.inside(fields["filename"], folder):
        raise ZImageError("ZI-PATH", found=fields["filename"][:200], expected=fields["folder"])


def _raised_in(handler: Any, error: Exception) -> bool:
    code = getattr(inspect.unwrap(handler), "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


async def _judge_address(request: web.Request) -> None:
    request_checks.check_address(request.headers)

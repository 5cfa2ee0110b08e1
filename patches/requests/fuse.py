"""Requests are judged before the host's handlers see them, and every refusal has a code.

The middleware reads the body once, within limits, and hands it on; errors that other parts raise
under a request (a full queue, a full disk) are answered here too. Each event is one line of JSON in
the log ``fuse.jsonl`` of the state folder.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from ... import http_body
from ...config import InvalidValue, Settings
from ...errors import ZImageError
from ...rotating_log import Lines
from ..base import comfyui
from . import prompt_checks, request_checks

MIB = 2**20
LIMITS = {
    "body": 32, "waiting": 1000, "side": 4096, "batch": 64, "steps": 200, "work": 60_000,
}  # fmt: skip
"""What can be set: MiB of a JSON body, prompts that wait, and :class:`.prompts.Bounds`."""
JSON = frozenset({"/prompt", "/queue", "/history", "/interrupt", "/free"})
"""Requests of the host whose body is JSON."""
LOG = "fuse.jsonl"
STATUS = {
    "ZI-ORIGIN": 403,
    "ZI-HOST-NAME": 403,
    "ZI-REQUEST-METHOD": 405,
    "ZI-REQUEST-LARGE": 413,
    "ZI-REQUEST-TYPE": 415,
    "ZI-REQUEST-CHARSET": 415,
    "ZI-PROMPT-TWICE": 409,
    "ZI-QUEUE-FULL": 429,
    "ZI-QUEUE-FILE": 507,
    "ZI-QUEUE-TAKEN": 503,
    "ZI-DISK-FULL": 507,
}

refused: Counter[str] = Counter()
"""Requests that this process has refused, by code; for ``/metrics``."""

_WEIGHT = re.compile(r"[01](\.[0-9]*)?")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create() -> Fuse:
    """The middleware of the running server."""
    given = limits(Settings.from_environment().limits)
    named = ("side", "batch", "steps", "work")
    bounds = prompt_checks.Bounds(**{name: given[name] for name in named})
    return Fuse(comfyui.server(), comfyui.folder(), bounds, given["body"] * MIB)


def limits(given: Mapping[str, float]) -> dict[str, int]:
    """Return the limits of requests; what is no limit, or below 1, is left out."""
    fit = {name: int(given[name]) for name in LIMITS if given.get(name, 0) >= 1}
    return LIMITS | fit


def invalid_limits(given: Mapping[str, float]) -> list[InvalidValue]:
    """Return what :func:`limits` leaves out."""
    return [
        InvalidValue("ZIMAGE_LIMITS", f"{name}={value:g}", f"{', '.join(LIMITS)}; >= 1")
        for name, value in given.items()
        if name not in LIMITS or value < 1
    ]


class Fuse:
    """The middleware and its log."""

    def __init__(
        self,
        server: Any,
        folder: Path,
        bounds: prompt_checks.Bounds | None = None,
        largest: int = LIMITS["body"] * MIB,
    ) -> None:
        self.server, self.log, self.largest = server, folder / LOG, largest
        self.bounds = bounds or prompt_checks.Bounds()
        self.active = False

    def apply(self) -> None:
        """Add the middleware; the innermost, so that the host's own refusals come first."""
        if self.handle in self.server.app.middlewares:
            self.active = True
            return
        if self.server.app.frozen or not hasattr(web.BaseRequest, "_read_bytes"):
            raise ZImageError("ZI-PATCH-SEAM", name="PromptServer.app", found="frozen",
                              expected="middlewares.append")  # fmt: skip
        self.server.app.middlewares.append(self.handle)
        self.active = True

    def revert(self) -> None:
        """Let everything through."""
        self.active = False

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Judge, hand on, answer."""
        if not self.active:
            return await handler(request)
        changed: list[dict[str, Any]] = []
        try:
            if request.method == "POST" and request.path.removeprefix("/api") in JSON:
                changed = await self._judge(request)
            response = await handler(request)
        except ZImageError as error:
            note(self.log, request, error.code, "refused")
            return refusal(request, error)
        except web.HTTPMethodNotAllowed as error:
            if request.path.removeprefix("/api") not in JSON:
                raise
            allowed = ", ".join(sorted(error.allowed_methods))
            told = ZImageError("ZI-REQUEST-METHOD", found=request.method, expected=allowed)
            note(self.log, request, told.code, "refused")
            answer = refusal(request, told)
            answer.headers["Allow"] = allowed
            return answer
        if changed and isinstance(response, web.Response) and response.status == 200:
            answer = json.loads(response.text or "{}")
            response.text = json.dumps({**answer, "zimage": {"clamped": changed}})
            note(self.log, request, "ZI-CLAMPED", "clamped", answer.get("prompt_id"))
        return response

    async def _judge(self, request: web.Request) -> list[dict[str, Any]]:
        kind = request.content_type
        if "Origin" in request.headers and "json" not in kind:  # a form on somebody's page
            raise ZImageError("ZI-REQUEST-TYPE", found=kind)
        data = await request_checks.read(request, self.largest)
        if not data and request.path.endswith("/interrupt"):
            return []
        body = http_body.parse(data)
        changed: list[dict[str, Any]] = []
        if request.path.endswith(("/queue", "/history")):
            request_checks.check_ids(body)
        if request.path.endswith("/prompt"):
            prompt_checks.check_prompt(body)
            changed = prompt_checks.clamp(body.get("prompt", {}), self.bounds)
            if changed:
                body.setdefault("extra_data", {})["zimage_clamped"] = changed
                request._read_bytes = json.dumps(body).encode()
        return changed


@web.middleware
async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What a part raises under a request, answered where the fuse is switched off."""
    try:
        return await handler(request)
    except ZImageError as error:
        note(comfyui.folder() / LOG, request, error.code, "refused")
        return refusal(request, error)


def refusal(request: web.Request, error: ZImageError) -> web.Response:
    """The answer for an error, first in the language that the request prefers."""
    chinese = prefers_chinese(request.headers.get("Accept-Language", ""))
    texts = (error.chinese, error.english)
    first, second = texts if chinese else texts[::-1]
    about = {"type": error.code, "message": first, "details": second, "extra_info": {}}
    status = STATUS.get(error.code, 400)
    answer = {"error": about, "node_errors": _node_errors(error)}
    return web.json_response(answer, status=status)


def note(
    path: Path, request: web.Request, trigger: str, action: str, id: str | None = None
) -> None:
    """One line about a request in the log."""
    if action == "refused":
        refused[trigger] += 1
    jot(path, id or request.headers.get("X-Request-Id", "-"), request.path, trigger, action)


def jot(path: Path, id: str, where: str, trigger: str, action: str) -> None:
    """One line in the log; a disk that fails costs the line alone."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": id,
        "path": where,
        "trigger": trigger,
        "action": action,
    }
    text = json.dumps(line, ensure_ascii=False)
    _lines(path).add(text.encode("utf-8", "backslashreplace").decode())  # headers hold any bytes


@functools.cache
def _lines(path: Path) -> Lines:
    return Lines(path)


def prefers_chinese(header: str) -> bool:
    """Whether an ``Accept-Language`` header (RFC 9110) ranks Chinese before English."""
    ranks: dict[str, float] = {}
    for entry in header.lower().split(","):
        name, *parameters = (word.strip() for word in entry.split(";"))
        weights = [word[2:] for word in parameters if word.startswith("q=")]
        if not all(map(_WEIGHT.fullmatch, weights)):
            continue
        language, rank = name.partition("-")[0], float(weights[0]) if weights else 1.0
        ranks[language] = max(rank, ranks.get(language, 0.0))
    others = ranks.get("*", 0.0)
    return ranks.get("zh", others) > ranks.get("en", others)


def _node_errors(error: ZImageError) -> dict[str, Any]:
    """As the host tells of wrong values, so that the page marks the node."""
    found = error.found
    if error.code != "ZI-REQUEST-TEXT":
        return {}
    told = {
        "type": found["found"],
        "message": f"[{found['found']}] {found['zh']} / {found['en']}",
        "details": found["name"],
        "extra_info": {"input_name": found["name"]},
    }
    about = {"errors": [told], "dependent_outputs": [], "class_type": found["kind"]}
    return {str(found["node"]): about}

"""Answers to requests that are refused, and the log of them.

A refusal has a code, is answered in the language that the client prefers, is counted for
``/metrics``, and is one line of JSON in the log :data:`LOG` of the state folder.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ...rotating_log import Lines
from . import comfyui

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
"""HTTP status by code; 400 for every other code."""

counts: Counter[str] = Counter()
"""Requests that this process has refused, by code."""

_WEIGHT = re.compile(r"[01](\.[0-9]*)?")


def refuse(request: web.Request, error: ZImageError, path: Path | None = None) -> web.Response:
    """Log and count a refusal, and return its answer.

    Args:
        request: the request that is refused.
        error: why.
        path: the log; that of the running server when it is None.
    """
    log_refusal(request, error.code, path)
    return refusal(request, error)


def refusal(request: web.Request, error: ZImageError) -> web.Response:
    """Return the answer for an error, with the language first that the request prefers."""
    chinese = prefers_chinese(request.headers.get("Accept-Language", ""))
    texts = (error.chinese, error.english)
    first, second = texts if chinese else texts[::-1]
    body = {"type": error.code, "message": first, "details": second, "extra_info": {}}
    answer = {"error": body, "node_errors": _node_errors(error)}
    return web.json_response(answer, status=STATUS.get(error.code, 400))


def log_refusal(request: web.Request, code: str, path: Path | None = None) -> None:
    """Write one line about a refused request, and count it."""
    counts[code] += 1
    path = path or comfyui.folder() / LOG
    log_event(path, request_id(request), request.path, code, "refused")


def request_id(request: web.Request) -> str:
    """Return the identifier that a client or a proxy has given a request, "-" without one."""
    return request.headers.get("X-Request-Id", "-")


def log_event(path: Path, id: str, where: str, trigger: str, action: str) -> None:
    """Write one line to the log; if the disk fails, only this line is lost.

    Args:
        path: the log.
        id: of the request or of the prompt.
        where: path of the request, "-" without one.
        trigger: a code.
        action: what was done: ``refused``, ``clamped``, ``interrupted`` or ``ended``.
    """
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": id,
        "path": where,
        "trigger": trigger,
        "action": action,
    }
    text = json.dumps(line, ensure_ascii=False)
    # Header values are arbitrary bytes, which aiohttp decodes to lone surrogates.
    log_file(path).add(text.encode("utf-8", "backslashreplace").decode())


@functools.cache
def log_file(path: Path) -> Lines:
    """Return the rotating log at a path."""
    return Lines(path)


def prefers_chinese(header: str) -> bool:
    """Return whether an ``Accept-Language`` header (RFC 9110) ranks Chinese before English."""
    ranks: dict[str, float] = {}
    for entry in header.lower().split(","):
        name, *parameters = (word.strip() for word in entry.split(";"))
        weights = [word[2:] for word in parameters if word.startswith("q=")]
        if not all(map(_WEIGHT.fullmatch, weights)):
            continue
        language = name.partition("-")[0]
        rank = float(weights[0]) if weights else 1.0
        ranks[language] = max(rank, ranks.get(language, 0.0))
    others = ranks.get("*", 0.0)
    return ranks.get("zh", others) > ranks.get("en", others)


def _node_errors(error: ZImageError) -> dict[str, Any]:
    """Return the errors of nodes in the host's format, so that the page marks the node."""
    fields = error.found
    if error.code != "ZI-REQUEST-TEXT":
        return {}
    node_error = {
        "type": fields["found"],
        "message": f"[{fields['found']}] {fields['reason']}",
        "details": fields["name"],
        "extra_info": {"input_name": fields["name"]},
    }
    node = {"errors": [node_error], "dependent_outputs": [], "class_type": fields["kind"]}
    return {str(fields["node"]): node}

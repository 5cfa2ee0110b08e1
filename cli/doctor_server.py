"""What a server that runs says of itself, for ``doctor``."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any

from ..errors import ZImageError
from .client import Client, with_scheme
from .terminal import problem

TOLD = {"code", "zh", "en"}
"""What ``/health`` has of a part that does not do its work."""


def report(url: str) -> dict[str, Any]:
    """The state of each part of the hardening, from ``/health``.

    Returns:
        ``url``, ``running``, and of one that runs ``status`` and ``patches`` (status by name);
        ``problems`` has what a part says of itself. No server is no problem.
    """
    url = with_scheme(url)
    part: dict[str, Any] = {"url": url, "running": False, "problems": []}
    try:
        status, body = Client(url).request("/health", timeout=10)
    except (OSError, HTTPException, ValueError):
        return part
    part["running"] = True
    found = _health(body) if status in {200, 503} else None
    if found is None:
        return part | {"problems": [problem(ZImageError("ZI-SERVER-FOREIGN", path=url), "note")]}
    part["status"] = found["status"]
    part["patches"] = {name: one["status"] for name, one in found["patches"].items()}
    if found["reasons"]:
        reasons = ", ".join(map(str, found["reasons"]))
        error = ZImageError("ZI-SERVER-UNREADY", path=url, found=reasons)
        part["problems"].append(problem(error, "note"))
    for one in found["patches"].values():
        if "code" in one:
            part["problems"].append({"level": "note"} | {key: one[key] for key in TOLD})
    return part


def _health(body: bytes) -> dict[str, Any] | None:
    """The answer of ``/health``; None for what is none of ours."""
    try:
        found = json.loads(body)
        parts = found["patches"].values()
        fit = all(isinstance(one["status"], str) for one in parts)
        fit = fit and all(one.keys() >= TOLD for one in parts if "code" in one)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if fit and isinstance(found.get("reasons"), list) else None

"""The part of ``doctor`` about a running server."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any

from ..errors import ZImageError
from .client import Client, with_scheme
from .terminal import problem

PROBLEM_KEYS = {"code", "zh", "en"}
"""Keys of a part of ``/health`` that is not active."""


def report(url: str) -> dict[str, Any]:
    """Return the state of each part of the hardening, from ``/health``.

    Returns:
        ``url``, ``running``, and for a running server ``status`` and ``patches`` (status by name);
        ``problems`` has the errors of parts. A server that does not run is not a problem.
    """
    url = with_scheme(url)
    part: dict[str, Any] = {"url": url, "running": False, "problems": []}
    try:
        status, body = Client(url).request("/health", timeout=10)
    except (OSError, HTTPException, ValueError):
        return part
    part["running"] = True
    health = _health(body) if status in {200, 503} else None
    if health is None:
        return part | {"problems": [problem(ZImageError("ZI-SERVER-FOREIGN", path=url), "note")]}
    part["status"] = health["status"]
    part["patches"] = {name: patch["status"] for name, patch in health["patches"].items()}
    if health["reasons"]:
        reasons = ", ".join(map(str, health["reasons"]))
        error = ZImageError("ZI-SERVER-UNREADY", path=url, found=reasons)
        part["problems"].append(problem(error, "note"))
    for patch in health["patches"].values():
        if "code" in patch:
            part["problems"].append({"level": "note"} | {key: patch[key] for key in PROBLEM_KEYS})
    return part


def _health(body: bytes) -> dict[str, Any] | None:
    """Return the document of ``/health``; None if it is not one of ours."""
    try:
        health = json.loads(body)
        patches = health["patches"].values()
        valid = all(isinstance(patch["status"], str) for patch in patches)
        valid = valid and all(patch.keys() >= PROBLEM_KEYS for patch in patches if "code" in patch)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return health if valid and isinstance(health.get("reasons"), list) else None

"""Shared by the faults: their registry, prompts, and checks of responses."""

from __future__ import annotations

import contextlib
import json
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...config import PACK_DIR
from ..stage import Stage, until

Fault = Callable[[Stage, random.Random], None]
TEMPLATE = PACK_DIR / "workflows" / "api" / "电商海报生成.json"
FAULTS: dict[str, Fault] = {}


class Skipped(Exception):
    """This machine cannot run a fault; the message says why."""


def fault(function: Fault) -> Fault:
    """Register a fault under the name of its function, with spaces."""
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


def node(kind: str, name: str = "Trouble", **inputs: object) -> dict[str, Any]:
    """Return a prompt with one node of the pack with faults."""
    return {"1": {"class_type": name, "inputs": {"kind": kind, **inputs}}}


def submit(stage: Stage, prompt: dict[str, Any], **more: object) -> str:
    """Submit a prompt, which must be accepted; return its id."""
    status, answer = stage.post("/prompt", json.dumps({"prompt": prompt, **more}).encode())
    assert status == 200, (status, answer)
    return answer["prompt_id"]


def code(entry: dict[str, Any]) -> str:
    """Return the error message of a prompt with its code; empty for success."""
    messages = dict(entry["status"]["messages"])
    return messages.get("execution_error", {}).get("exception_message", "")


def refused(stage: Stage, path: str, data: bytes, *statuses: int, **headers: str) -> None:
    """Send a request and assert that it is refused with one of the statuses and a code."""
    status, answer = stage.post(path, data, headers)
    assert status in statuses, (status, answer)
    assert answer["error"]["type"].startswith("ZI-"), answer


def running(stage: Stage, seconds: float, name: str = "Trouble") -> str:
    """Submit a prompt that takes some seconds; return its id once it runs."""
    id = submit(stage, node("sleep", name, seconds=seconds))

    def runs() -> bool:
        return any(item[1] == id for item in stage.client.get("/queue")["queue_running"])

    until(runs, "a prompt that runs")
    return id


@contextmanager
def limited(pid: int, kind: int, most: int) -> Iterator[None]:
    """Set a soft resource limit of a process meanwhile; setrlimit(2) lists the kinds."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, kind, before)

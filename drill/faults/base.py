"""What every fault is made of: its place in the list, prompts, and how they are looked at."""

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
    """This machine cannot have the fault; says why."""


def fault(function: Fault) -> Fault:
    """Add one to the list, under its name."""
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


def node(kind: str, name: str = "Trouble", **inputs: object) -> dict[str, Any]:
    """A prompt of one node that makes trouble."""
    return {"1": {"class_type": name, "inputs": {"kind": kind, **inputs}}}


def submit(stage: Stage, prompt: dict[str, Any], **more: object) -> str:
    """Accepted, or the fault has failed."""
    status, answer = stage.post("/prompt", json.dumps({"prompt": prompt, **more}).encode())
    assert status == 200, (status, answer)
    return answer["prompt_id"]


def code(entry: dict[str, Any]) -> str:
    """Why a prompt failed: its coded message, empty for one that has succeeded."""
    messages = dict(entry["status"]["messages"])
    return messages.get("execution_error", {}).get("exception_message", "")


def refused(stage: Stage, path: str, data: bytes, *statuses: int, **headers: str) -> None:
    """A request that has to be refused with a code."""
    status, answer = stage.post(path, data, headers)
    assert status in statuses, (status, answer)
    assert answer["error"]["type"].startswith("ZI-"), answer


def running(stage: Stage, seconds: float, name: str = "Trouble") -> str:
    """A prompt that works for some seconds, once it does."""
    id = submit(stage, node("sleep", name, seconds=seconds))

    def runs() -> bool:
        return any(item[1] == id for item in stage.client.get("/queue")["queue_running"])

    until(runs, "a prompt that runs")
    return id


@contextmanager
def limited(pid: int, kind: int, most: int) -> Iterator[None]:
    """A process that may use so much of something meanwhile; setrlimit(2) has the kinds."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (most, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, kind, before)

"""How a prompt ended: the host's messages, status and client, from its entry in the history.

For the events around a prompt, see :mod:`.lifecycle`.
"""

from __future__ import annotations

import sys
import time
from typing import Any, NamedTuple

from ...errors import ZImageError

ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})
END = "end"
LAST = "last"
"""Parts of an outcome besides "node ID": one of :data:`ENDS`, and the ``executing`` after it."""

Entry = dict[str, Any]
"""One prompt in the host's history."""
Event = tuple[str, dict[str, Any]]


def outcome_part(event: Any, data: Any) -> str | None:
    """Return which part of an outcome an event is; None for all other events."""
    if not isinstance(data, dict) or not isinstance(data.get("prompt_id"), str):
        return None
    if event == "executed":
        return f"node {data.get('node')}"
    if event == "executing" and data.get("node") is None:
        return LAST
    return END if event in ENDS else None


def outcome(id: str, entry: Entry, parts: set[str] | None) -> list[Event]:
    """Return the events of some parts, or of all (None), in the host's order."""
    meta = entry.get("meta") or {}
    events: list[Event] = []
    for node, output in (entry.get("outputs") or {}).items():
        if parts is None or f"node {node}" in parts:
            display_node = (meta.get(node) or {}).get("display_node", node)
            data = {"node": node, "display_node": display_node, "output": output, "prompt_id": id}
            events.append(("executed", data))
    if parts is None or END in parts:
        events += [(event, data) for event, data in _messages(entry) if event in ENDS]
    if parts is None or LAST in parts:
        events.append(("executing", {"node": None, "prompt_id": id}))
    return events


def end_time(entry: Entry) -> float:
    """Return when a prompt ended, in seconds since 1970; 0 if the history does not say."""
    times = [data.get("timestamp") for _, data in _messages(entry)]
    return max((stamp / 1000 for stamp in times if isinstance(stamp, (int, float))), default=0.0)


def client_id_of(entry: Entry) -> str | None:
    """Return the ``client_id`` that a prompt was submitted with, None without one."""
    prompt = entry.get("prompt") or ()
    extra = prompt[3] if len(prompt) > 3 else None
    client_id = extra.get("client_id") if isinstance(extra, dict) else None
    return client_id if isinstance(client_id, str) else None


def _messages(entry: Entry) -> list[Event]:
    messages = (entry.get("status") or {}).get("messages") or []
    return [(event, data) for event, data in messages if isinstance(data, dict)]


class Status(NamedTuple):
    """The fields of the host's ``PromptQueue.ExecutionStatus``."""

    status_str: str
    completed: bool
    messages: list[tuple[str, dict[str, Any]]]


def failure(id: str, error: ZImageError) -> Status:
    """Return the status of a prompt that failed without its executor."""
    start = {"prompt_id": id, "timestamp": int(time.time() * 1000)}
    details = {
        "node_id": None,
        "node_type": None,
        "executed": [],
        "exception_message": str(error),
        "exception_type": error.code,
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    }
    messages = [("execution_start", start), ("execution_error", {**start, **details})]
    return Status("error", False, messages)


def interrupted(server: Any, item: tuple[Any, ...]) -> Status:
    """Return the status that the host's executor gives a prompt interrupted at a node."""
    id, prompt = item[1], item[2]
    node = getattr(server, "last_node_id", None)
    kind = prompt[node]["class_type"] if node in prompt else None
    start = {"prompt_id": id, "timestamp": int(time.time() * 1000)}
    details = {"node_id": node, "node_type": kind, "executed": []}
    messages: list[Event] = [
        ("execution_start", start),
        ("execution_interrupted", {**start, **details}),
    ]
    return Status("error", False, messages)


def is_interrupt(error: BaseException) -> bool:
    """Return whether the host raised an error because a prompt was interrupted.

    In newer hosts such an error is no ``Exception``, so that nodes do not catch it.
    """
    kind = getattr(sys.modules.get("comfy.model_management"), "InterruptProcessingException", ())
    return isinstance(error, kind)

"""A thread that submits prompts during a drill and checks their results."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from typing import Any

from .stage import Stage, until

CHECK_EVERY = 1000
"""Accepted prompts between two checks of results, because the history has a limited length."""


class Load(threading.Thread):
    """Submits small prompts until :attr:`done` is set.

    Attributes:
        accepted: note of each accepted prompt, by its id.
        checked: ids of accepted prompts that have their own result.
        refused: times at which a connection was refused.
        disconnected: requests without a response.
        rejected: requests with another status than 200.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self.stage = stage
        self.done = threading.Event()
        self.accepted: dict[str, str] = {}
        self.checked: set[str] = set()
        self.refused: list[str] = []
        self.disconnected = 0
        self.rejected = 0

    def run(self) -> None:
        """Submit a prompt every 50 ms and record its response."""
        number = 0
        while not self.done.wait(0.05):
            number += 1
            node = {"class_type": "Trouble", "inputs": {"kind": "none", "note": str(number)}}
            try:
                status, answer = self.stage.client.submit({"1": node})
            except OSError as error:
                refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
                if refused and not self.stage.is_down:
                    self.refused.append(time.strftime("%H:%M:%S"))
                self.disconnected += 1
                continue
            except http.client.HTTPException:
                self.disconnected += 1
                continue
            if status == 200:
                self.accepted[answer["prompt_id"]] = str(number)
                if len(self.accepted) % CHECK_EVERY == 0:
                    self._check_results()
            else:
                self.rejected += 1

    def _check_results(self) -> None:
        """Mark accepted prompts that have their own result; others are checked again later."""
        for id, note in self.accepted.items():
            if id in self.checked:
                continue
            entry = quietly(lambda id=id: self.stage.client.get(f"/history/{id}"))
            if entry is None:
                return  # the server does not respond at the moment
            if _is_own(entry.get(id), note):
                self.checked.add(id)

    def lost_prompts(self) -> list[str]:
        """Wait for an empty queue; return the ids of accepted prompts without their own result."""

        def idle() -> bool:
            queue = self.stage.client.get("/queue")
            return not queue["queue_running"] and not queue["queue_pending"]

        until(lambda: quietly(idle), "an empty queue")
        history = self.stage.client.get("/history")
        return [
            id
            for id, note in self.accepted.items()
            if id not in self.checked and not _is_own(history.get(id), note)
        ]


def _is_own(entry: dict[str, Any] | None, note: str) -> bool:
    """Return whether an entry of the history is the result of the prompt with a note."""
    return (entry or {}).get("outputs", {}).get("1", {}).get("text") == ["none", note]


def quietly(attempt: Callable[[], Any]) -> Any:
    """Return the result of a request; None if the server did not respond."""
    try:
        return attempt()
    except (OSError, http.client.HTTPException):
        return None

"""The host's queue, as far as the hardening overrides it."""

from __future__ import annotations

import heapq
import threading
from typing import Any


class PromptQueue:
    """One prompt at a time, numbered 0 while it runs."""

    def __init__(self, server: Any) -> None:
        self.server, self.mutex = server, threading.RLock()
        self.queue: list[Any] = []
        self.currently_running: dict[int, Any] = {}
        self.history: dict[str, Any] = {}

    def put(self, item: Any) -> None:
        """Wait."""
        heapq.heappush(self.queue, item)

    def get(self, timeout: float | None = None) -> Any:
        """The first that waits, None without one."""
        if not self.queue:
            return None
        self.currently_running[0] = heapq.heappop(self.queue)
        return self.currently_running[0], 0

    def task_done(self, item_id: int, history_result: Any, status: Any) -> None:
        """What ran is history."""
        item = self.currently_running.pop(item_id)
        status = status._asdict() if hasattr(status, "_asdict") else status
        self.history[item[1]] = {"prompt": item, "status": status, **history_result}

    def wipe_history(self) -> None:
        """All of it."""
        self.history = {}

    def delete_history_item(self, id_to_delete: str) -> None:
        """One, if it is there."""
        self.history.pop(id_to_delete, None)

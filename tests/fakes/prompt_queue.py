"""The host's queue, as far as the hardening overrides it."""

from __future__ import annotations

import heapq
import threading
from typing import Any


class PromptQueue:
    """One prompt at a time, numbered 0 while it runs; ``most`` entries of history."""

    most = 10_000

    def __init__(self, server: Any) -> None:
        self.server, self.mutex = server, threading.RLock()
        self.not_empty = threading.Condition(self.mutex)
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
        """What ran is history; the oldest goes. An entry is set, then completed."""
        item = self.currently_running.pop(item_id)
        if len(self.history) > self.most:
            self.history.pop(next(iter(self.history)))
        status = status._asdict() if hasattr(status, "_asdict") else status
        self.history[item[1]] = {"prompt": item[:5], "outputs": {}, "status": status}
        self.history[item[1]].update(history_result)

    def get_flags(self, reset: bool = True) -> dict[str, Any]:
        """None is ever set."""
        return {}

    def get_history(
        self, prompt_id: Any = None, max_items: Any = None, offset: int = -1
    ) -> dict[str, Any]:
        """One entry, or all."""
        ids = [*self.history] if prompt_id is None else [prompt_id]
        return {id: self.history[id] for id in ids}

    def wipe_history(self) -> None:
        """All of it."""
        self.history = {}

    def delete_history_item(self, id_to_delete: str) -> None:
        """One, if it is there."""
        self.history.pop(id_to_delete, None)

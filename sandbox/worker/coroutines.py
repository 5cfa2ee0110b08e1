"""An event loop in a thread of its own, for the coroutines of a worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class CoroutineThread:
    """Runs coroutines while other threads run calls. The thread starts with the first one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        # A loop has only weak references to its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine in a copy of the caller's context, and do not wait for it.

        Any thread can call this.
        """
        loop = self._running_loop()
        loop.call_soon_threadsafe(self._create_task, loop, coroutine)  # copies the context

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, and start its thread at the first call."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=self._loop.run_forever, name="zimage-coroutines", daemon=True
                ).start()
            return self._loop

    def _create_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
    ) -> None:
        task = loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

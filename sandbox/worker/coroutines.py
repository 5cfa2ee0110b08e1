"""An event loop in a thread of its own, started with the first coroutine."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any


class CoroutineThread:
    """Runs coroutines while other threads run calls."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine in a copy of the caller's context."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(
                target=self._loop.run_forever, name="zimage-coroutines", daemon=True
            ).start()
        loop = self._loop
        context = contextvars.copy_context()

        def begin() -> None:
            context.run(asyncio.ensure_future, coroutine, loop=loop)

        loop.call_soon_threadsafe(begin)

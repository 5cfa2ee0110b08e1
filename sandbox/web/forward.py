"""Requests of the page, run in a pack's process without blocking the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from ...errors import ZImageError
from ...errors.bilingual import Bilingual
from ..host.call_deadline import CallControl, CallDeadline
from ..host.calls import GRACE_SECONDS
from ..host.log_capture import clean
from ..host.pack import Pack
from ..host.pack_events import forward_event
from ..host.session import WorkerSession
from ..protocol import messages as m
from ..protocol.exceptions import CodecError, WorkerDied, WorkerRaised

log = logging.getLogger(__name__)

LONGEST_SECONDS = 300.0
"""Limit for a response; a lower ``call_seconds`` of the pack takes precedence."""
MAX_AT_ONCE = 32
"""Requests of one pack that wait for a response."""
REFUSALS = {
    "StreamRefusedError": "ZI-SANDBOX-ROUTE-STREAM",
    "TooLargeError": "ZI-SANDBOX-ROUTE-ANSWER",
}
"""Codes for what :mod:`worker.http_handlers` raises, by name."""


class Deadline:
    """Cancels a request when its time is over, and kills a process that ignores that.

    Args:
        call: the request.
        seconds: how long it may take.
    """

    def __init__(self, call: m.Call, seconds: float) -> None:
        self.call = call
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self.over = False

    def __call__(self, session: CallControl, _silence: float) -> None:
        """Check the time; called regularly by :meth:`WorkerSession.call`.

        Raises:
            WorkerDied: the process was killed.
        """
        late = time.monotonic() - self.until
        if late > 0 and not self.over:
            self.over = True
            session.cancel(self.call.number)
        elif late > GRACE_SECONDS:
            seconds = f"{self.seconds:g}"
            reason = Bilingual(
                f"一个请求超过了 {seconds} 秒", f"a request took more than {seconds} s"
            )
            session.process.kill(reason)
            raise WorkerDied(reason)


class Forwarder:
    """Sends requests to processes, each from a thread of its own that waits for the response."""

    def __init__(self) -> None:
        self._loaded: weakref.WeakSet[WorkerSession] = weakref.WeakSet()
        self._waiting: Counter[str] = Counter()

    async def ask(self, pack: Pack, message: dict[str, Any]) -> Any:
        """Return the response of a pack's process as it sent it.

        Args:
            pack: the pack.
            message: from :func:`.header_filter.request_message`.

        Raises:
            ZImageError: ``ZI-SANDBOX-ROUTE-…``, or why there is no process.
        """
        if self._waiting[pack.name] >= MAX_AT_ONCE:
            raise ZImageError("ZI-SANDBOX-ROUTE-BUSY", pack=pack.name, found=MAX_AT_ONCE)
        self._waiting[pack.name] += 1
        try:
            return await in_thread(lambda: self.run(pack, message))
        finally:
            self._waiting[pack.name] -= 1

    def run(self, pack: Pack, message: dict[str, Any]) -> Any:
        """Return the response as :meth:`ask` does, in the calling thread."""
        with pack.use() as session:
            return self._run(pack, session, message)

    def _run(self, pack: Pack, session: WorkerSession, message: dict[str, Any]) -> Any:
        seconds = min(pack.rule.call_seconds or LONGEST_SECONDS, LONGEST_SECONDS)
        deadline = Deadline(m.Call(0, "route"), seconds)
        path = str(message["target"]).partition("?")[0][:200]
        route: dict[str, Any] = {"pack": pack.name, "route": path}
        try:
            self._load(pack, session)
            return self._call(session, deadline, message)
        except WorkerDied as error:
            pack.crashed(session, error.reason)  # counted like any other crash
            if deadline.over:
                raise ZImageError("ZI-SANDBOX-ROUTE-SLOW", **route, found=seconds) from None
            raise ZImageError("ZI-SANDBOX-ROUTE-DIED", **route, found=error.reason) from None
        except (WorkerRaised, CodecError) as error:
            if deadline.over:
                raise ZImageError("ZI-SANDBOX-ROUTE-SLOW", **route, found=seconds) from None
            raise _coded(error, route) from None

    def start(self, pack: Pack) -> None:
        """Start a pack's process and import the pack before the first request; log failures."""
        try:
            with pack.use() as session:
                self._begin(pack, session)
        except (WorkerRaised, ZImageError) as error:
            log.warning("Z-Image: %s: %s", pack.name, error)

    def _begin(self, pack: Pack, session: WorkerSession) -> None:
        try:
            self._load(pack, session)
        except WorkerDied as error:
            pack.crashed(session, error.reason)

    def _load(self, pack: Pack, session: WorkerSession) -> None:
        """Have a new process import the pack first, within its own time limit."""
        if session not in self._loaded:
            seconds = pack.rule.load_seconds
            session.call(m.Call(0, "describe"), None, CallDeadline(seconds, seconds))
            self._loaded.add(session)

    def _call(self, session: WorkerSession, deadline: Deadline, message: dict[str, Any]) -> Any:
        deadline.until = time.monotonic() + deadline.seconds
        deadline.call.arguments = session.objects.codec.pack(message)
        return session.call(
            deadline.call, lambda kind, value: forward_event(kind, value, None), deadline
        )


def _coded(error: WorkerRaised | CodecError, route: dict[str, Any]) -> ZImageError:
    """Return the error for what a handler raised, and log its traceback."""
    if isinstance(error, CodecError):
        return ZImageError("ZI-SANDBOX-ROUTE-ANSWER", pack=route["pack"], found=error)
    info = error.error
    for line in info.trace.splitlines()[-40:]:
        log.warning("[%s] %s", route["pack"], clean(line))
    text = f"{info.type}: {info.message}"[:500]
    if (code := REFUSALS.get(info.type)) is not None:
        return ZImageError(code, pack=route["pack"], found=text)
    return ZImageError("ZI-SANDBOX-ROUTE-RAISED", **route, found=text)


async def in_thread(work: Callable[[], Any]) -> Any:
    """Return the result of a function, run in a new daemon thread.

    The few threads of ``asyncio.to_thread`` are for ComfyUI's file access.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def run() -> None:
        try:
            value, error = work(), None
        except BaseException as caught:  # noqa: BLE001  raised in the coroutine that waits
            value, error = None, caught
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name="zimage-route", daemon=True).start()
    return await future

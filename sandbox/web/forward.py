"""One request of the page, run in a pack's process, while the server goes on."""

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

from ...errors import Said, ZImageError
from ..host.call_deadline import Limit
from ..host.calls import GRACE_SECONDS
from ..host.log_capture import clean
from ..host.object_table import WorkerDied, WorkerRaised
from ..host.pack import Pack
from ..host.process import Process
from ..protocol import messages as m
from ..protocol.codec import ValueTroubleError
from .events import tell

log = logging.getLogger(__name__)

LONGEST_SECONDS = 300.0
"""For an answer; less where the pack's ``call_seconds`` say so."""
MOST_AT_ONCE = 32
"""Requests of one pack that wait for their answers."""
REFUSALS = {
    "StreamRefusedError": "ZI-SANDBOX-ROUTE-STREAM",
    "TooLargeError": "ZI-SANDBOX-ROUTE-ANSWER",
}
"""What :mod:`.handlers` raises, by name."""


class Deadline:
    """Has a request cancelled when its time is over, and ends a process that ignores that.

    Args:
        call: the request.
        seconds: how long it may take.
    """

    def __init__(self, call: m.Call, seconds: float) -> None:
        self.call, self.seconds = call, seconds
        self.until = time.monotonic() + seconds
        self.over = False

    def __call__(self, process: Process, _silence: float) -> None:
        """See :meth:`Process.call`.

        Raises:
            WorkerDied: it was ended.
        """
        late = time.monotonic() - self.until
        if late > 0 and not self.over:
            self.over = True
            process.cancel(self.call.number)
        elif late > GRACE_SECONDS:
            said = f"{self.seconds:g}"
            why = Said(f"a request took more than {said} s", f"一个请求超过了 {said} 秒")
            process.kill(why)
            raise WorkerDied(why)


class Forwarder:
    """Hands requests to processes, each in a thread of its own that ends with the answer."""

    def __init__(self) -> None:
        self._loaded: weakref.WeakSet[Process] = weakref.WeakSet()
        self._waiting: Counter[str] = Counter()

    async def ask(self, pack: Pack, asked: dict[str, Any]) -> Any:
        """What the pack's process gives for a request (see :mod:`.crossing`).

        Raises:
            ZImageError: ``ZI-SANDBOX-ROUTE-…``, or why there is no process.
        """
        if self._waiting[pack.name] >= MOST_AT_ONCE:
            raise ZImageError("ZI-SANDBOX-ROUTE-BUSY", pack=pack.name, found=MOST_AT_ONCE)
        self._waiting[pack.name] += 1
        try:
            return await in_thread(lambda: self.run(pack, asked))
        finally:
            self._waiting[pack.name] -= 1

    def run(self, pack: Pack, asked: dict[str, Any]) -> Any:
        """The same, in the calling thread."""
        with pack.use() as process:
            return self._run(pack, process, asked)

    def _run(self, pack: Pack, process: Process, asked: dict[str, Any]) -> Any:
        seconds = min(pack.rule.call_seconds or LONGEST_SECONDS, LONGEST_SECONDS)
        deadline = Deadline(m.Call(0, "route"), seconds)
        path = str(asked["target"]).partition("?")[0][:200]
        about: dict[str, Any] = {"pack": pack.name, "route": path}
        try:
            self._load(pack, process)
            return self._call(process, deadline, asked)
        except WorkerDied as error:
            pack.crashed(process, error.found)  # counted as any other end
            if deadline.over:
                raise ZImageError("ZI-SANDBOX-ROUTE-SLOW", **about, found=seconds) from None
            raise ZImageError("ZI-SANDBOX-ROUTE-DIED", **about, found=error.found) from None
        except (WorkerRaised, ValueTroubleError) as error:
            if deadline.over:
                raise ZImageError("ZI-SANDBOX-ROUTE-SLOW", **about, found=seconds) from None
            raise _coded(error, about) from None

    def start(self, pack: Pack) -> None:
        """Have the pack imported in its process before anybody asks; failures are logged."""
        try:
            with pack.use() as process:
                self._begin(pack, process)
        except (WorkerRaised, ZImageError) as error:
            log.warning("Z-Image: %s: %s", pack.name, error)

    def _begin(self, pack: Pack, process: Process) -> None:
        try:
            self._load(pack, process)
        except WorkerDied as error:
            pack.crashed(process, error.found)

    def _load(self, pack: Pack, process: Process) -> None:
        """A process that has just started imports the pack first, which has a time of its own."""
        if process not in self._loaded:
            seconds = pack.rule.load_seconds
            process.call(m.Call(0, "describe"), None, Limit(seconds, seconds))
            self._loaded.add(process)

    def _call(self, process: Process, deadline: Deadline, asked: dict[str, Any]) -> Any:
        deadline.until = time.monotonic() + deadline.seconds
        deadline.call.arguments = process.codec.pack(asked)
        return process.call(deadline.call, lambda kind, told: tell(kind, told, None), deadline)


def _coded(error: WorkerRaised | ValueTroubleError, about: dict[str, Any]) -> ZImageError:
    """What a handler raised, told in the log in full."""
    if isinstance(error, ValueTroubleError):
        return ZImageError("ZI-SANDBOX-ROUTE-ANSWER", pack=about["pack"], found=error)
    trouble = error.trouble
    for line in trouble.trace.splitlines()[-40:]:
        log.warning("[%s] %s", about["pack"], clean(line))
    found = f"{trouble.type}: {trouble.message}"[:500]
    if (code := REFUSALS.get(trouble.type)) is not None:
        return ZImageError(code, pack=about["pack"], found=found)
    return ZImageError("ZI-SANDBOX-ROUTE-RAISED", **about, found=found)


async def in_thread(work: Callable[[], Any]) -> Any:
    """What a function gives, run in a thread that keeps no process from ending.

    ``asyncio.to_thread`` has few threads, which ComfyUI needs for files.
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
        except BaseException as caught:  # noqa: BLE001  told to who waits
            value, error = None, caught
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, name="zimage-route", daemon=True).start()
    return await future

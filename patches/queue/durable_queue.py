"""The host's prompt queue, kept on disk: what was accepted survives the process.

Prompts run in the order of ``number`` and then of acceptance. One that ran when the process died
runs again, and after :data:`DEATHS` deaths ends as failed instead. Values that the host calls
sensitive (API keys) stay in memory alone, so after a restart such a prompt runs without them.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import heapq
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ...config import Settings
from ...errors import ZImageError
from ..base import comfyui
from ..base.hooks import Argument, HookPoint, requires_more
from ..guardian_client import link
from ..requests import fuse
from .history_on_disk import RECENT, Ended, part_of
from .prompt_events import failure
from .store import Limits, Row, Store

log = logging.getLogger(__name__)
T = TypeVar("T")

DEATHS = 2
"""A prompt that was running when the process died this often is not run again."""
AGAIN = 2.0
"""Seconds between two looks at a file that another server has, or that cannot be used."""
MOMENT = 0.003
"""Seconds in which a client that has been told asks for its result."""
PATIENCE = 10.0
"""Seconds that a server which was told to go waits for one that the kernel is taking apart."""

SEAMS = (
    HookPoint("execution", "PromptQueue.__init__", ("self", "server")),
    HookPoint("execution", "PromptQueue.put", ("self", "item")),
    HookPoint("execution", "PromptQueue.get", ("self",)),
    HookPoint("execution", "PromptQueue.get_flags", ("self",)),
    HookPoint("execution", "PromptQueue.wipe_queue", ("self",)),
    HookPoint("execution", "PromptQueue.delete_queue_item", ("self",)),
    HookPoint("execution", "PromptQueue.get_history", ("self", "prompt_id", "max_items")),
)


def create() -> Swap:
    """The queue of the running server."""
    settings = Settings.from_environment()
    days, most = settings.disk.keep_days, fuse.limits(settings.limits)["waiting"]
    limits = Limits(seconds=days * 86400) if days else Limits()  # what it names is kept, too
    # A stranger would wait for a server that has no reason to end.
    patience = PATIENCE if link.serves() else 0.0
    return Swap(comfyui.server(), comfyui.folder(), limits, most, patience)


class Swap:
    """Puts the durable queue in the place of the server's own, before its worker starts."""

    def __init__(
        self,
        server: Any,
        folder: Path,
        limits: Limits | None = None,
        most_waiting: int = fuse.LIMITS["waiting"],
        patience: float = 0.0,
    ) -> None:
        self.server, self.folder, self.limits = server, folder, limits
        self.most_waiting, self.patience = most_waiting, patience
        self.original: Any = None
        self.ours: Any = None

    @property
    def active(self) -> bool:
        """True while the server's queue is ours."""
        return self.ours is not None and self.server.prompt_queue is self.ours

    def apply(self) -> None:
        """Swap; raises ``ZI-PATCH-SEAM``.

        A file that cannot be used now is tried again, by a thread and by each prompt that comes.
        """
        if self.active:
            return
        original = self.server.prompt_queue
        for seam in SEAMS:
            seam.verify(vars(seam.owner())[seam.name])
        if type(original) is not SEAMS[0].owner():  # another pack was here first
            found = type(original).__qualname__
            raise ZImageError("ZI-PATCH-SEAM", name="prompt_queue", found=found,
                              expected="PromptQueue")  # fmt: skip
        store = Store(self.folder, self.limits, patience=None)
        made = durable(type(original), store, self.most_waiting, self.patience)
        try:
            alone = not requires_more(type(original).__init__, SEAMS[0].parameters)
            self.ours = made(self.server) if alone else made(self.server, original)
        except BaseException:
            store.close()
            raise
        self.original, self.server.prompt_queue = original, self.ours
        _give_back_at_the_end(self.ours)
        if self.ours.refused is not None:
            log.error("Z-Image: %s", self.ours.refused)
            threading.Thread(target=self._try_again, name="zimage-queue", daemon=True).start()

    def _try_again(self) -> None:
        while self.active and self.ours.begin() is not None:
            time.sleep(AGAIN)

    def reasons(self) -> list[str]:
        """For ``/health/ready``: a prompt would not be kept now."""
        ours = self.ours
        return ["queue"] if ours is not None and (ours.refused or not ours.store.works()) else []

    def details(self) -> dict[str, str]:
        """For ``/health``: why there is no queue, while there is none."""
        error = self.ours.refused if self.ours is not None else None
        if error is None:
            return {}
        about = {"code": error.code, "zh": error.chinese, "en": error.english}
        return {"status": "refused", **about}

    def revert(self) -> None:
        """Put the host's own queue back; what waits stays on disk for the next start."""
        if self.ours is None:
            return
        if not self.active:
            raise ZImageError("ZI-PATCH-COVERED", name="PromptServer.prompt_queue")
        self.server.prompt_queue = self.original
        self.ours.store.close()
        self.ours = None


class Item(tuple):
    """What the host queues, in an order that is always defined."""

    place: tuple[float, int]

    @classmethod
    def of(cls, fields: tuple[Any, ...], place: int) -> Item:
        """An item of the host, accepted as the ``place``-th."""
        item = cls(fields)
        item.place = (fields[0], place)
        return item

    def __lt__(self, other: Any) -> bool:
        return self.place < other.place


def durable(
    base: type, store: Store, most_waiting: int = fuse.LIMITS["waiting"], patience: float = 0.0
) -> type:
    """A subclass of the host's ``PromptQueue`` over a store; ``patience`` as the store has it.

    Until the store can be opened it is empty and refuses prompts; then it has what lies there.
    """

    accepted = Argument(base.put, "item")
    asked = Argument(base.get_history, "prompt_id")
    most = Argument(base.get_history, "max_items")

    class DurableQueue(base):
        """The host's queue, with each step on disk before it counts.

        Args:
            server: the host's ``PromptServer``.
            like: a queue of the host whose state is taken over, where the host's ``__init__`` needs
                more than the server.
        """

        def __init__(self, server: Any, like: Any = None) -> None:
            self._ended: Ended | None = None
            if like is None:
                super().__init__(server)
            else:
                self.__dict__.update(_state_of(like))
            self._ended = Ended(store, self._is_busy)
            self.store = store
            self.quarantined: list[str] = []
            self._may_run = threading.Event()
            self._may_run.set()
            self.at_rest = threading.Event()
            self.refused: ZImageError | None = None
            with contextlib.suppress(ZImageError):
                self._open(patience)

        def _open(self, patience: float = 0.0) -> None:
            try:
                store.open(patience)
                rows = store.recover()
            except ZImageError as error:
                self.refused = error
                raise
            self.refused = None
            self._restore(rows)

        def begin(self) -> ZImageError | None:
            """Have what lies on disk, if it is not there yet; why it cannot be."""
            with self.mutex:
                if self.refused is None:
                    return None
                try:
                    self._open()
                except ZImageError as error:
                    return error
                log.warning("Z-Image: the queue is there, %d prompts wait", len(self.queue))
                self.server.queue_updated()
                self.not_empty.notify()
                return None

        @property
        def history(self) -> Any:
            """Others may assign to it, as the host does; what is on disk follows."""
            return {} if self._ended is None else self._ended

        @history.setter
        def history(self, entries: Any) -> None:
            if self._ended is not None:  # the host's __init__ has no entries to give
                with self.mutex:
                    self._ended.replace(entries)

        def _is_busy(self, id: str) -> bool:
            return any(one[1] == id for one in (*self.queue, *self.currently_running.values()))

        def _restore(self, rows: list[Row]) -> None:
            for row in rows:
                fields = (row.number, row.id, *row.item, {})
                if row.deaths >= DEATHS:
                    self._quarantine(row, fields)
                else:
                    heapq.heappush(self.queue, Item.of(fields, row.seq))
            counted = [abs(row.number) for row in rows if row.counted]  # negative: to the front
            before = getattr(self.server, "number", 0)
            self.server.number = max(before, int(max(counted, default=-1)) + 1)

        def _quarantine(self, row: Row, fields: tuple[Any, ...]) -> None:
            error = ZImageError("ZI-PROMPT-DEADLY", found=row.deaths)
            log.error("Z-Image: %s: %s", row.id, error)
            status = failure(row.id, error)._asdict()
            result = {"outputs": {}, "meta": {}, "status": status}
            self.history[row.id] = {"prompt": fields[:5], **result}
            self.quarantined.append(row.id)
            self.history.settle()

        def put(self, *values: Any, **named: Any) -> None:
            item = accepted.of((self, *values), named)
            number, id, *rest = item
            with self.mutex:
                if (refused := self.begin()) is not None:
                    raise refused
                if len(self.queue) >= most_waiting:
                    raise ZImageError("ZI-QUEUE-FULL", found=len(self.queue), maximum=most_waiting)
                self.history.settle()
                place = store.accept(id, number, rest[:3])
                self.history.forget(id)
                item = Item.of(item, place)
                arguments, named = accepted.replaced((self, *values), named, item)
                super().put(*arguments[1:], **named)

        def hold(self) -> None:
            """Give nothing more out; what waits is for the next process."""
            self._may_run.clear()

        def get(self, *rest: Any, **named: Any) -> Any:
            if not self._may_run.is_set():
                self.at_rest.set()  # all is told of what ran before
            self._may_run.wait()
            self.settle()
            self._linger()
            taken = super().get(*rest, **named)
            if taken is not None:
                _try(store.begin, taken[0][1])
            return taken

        def _linger(self) -> None:
            """With nothing to do, leave the moment to the client that reads its result, and tidy up
            after it."""
            with self.not_empty:
                if not self.queue:
                    self.not_empty.wait(MOMENT)
                if not self.queue and self.refused is None:
                    self.history.tidy()

        def get_flags(self, *rest: Any, **named: Any) -> Any:
            """The host asks for them when it has just told a client how its prompt ended."""
            self.settle()
            return super().get_flags(*rest, **named)

        def settle(self) -> None:
            """Have on disk how prompts ended. Clients are told before, but read nothing before."""
            with self.mutex:
                self.history.settle()

        def get_history(self, *rest: Any, **named: Any) -> Any:
            self.settle()
            prompt_id = asked.of((self, *rest), named)
            max_items = most.of((self, *rest), named)
            if prompt_id is None and (max_items is None or max_items > RECENT):
                self.history.whole()
            return super().get_history(*rest, **named)

        def listed(self, most: int | None, offset: int) -> Iterator[tuple[str, Any]]:
            """As ``get_history``, entry by entry, so that others have their turn between them."""
            with self.mutex:
                self.history.settle()
                ids = part_of(list(self.history), most, offset)
            for id in ids:
                with self.mutex:
                    entry = self.history.get(id)
                if entry is not None:
                    yield id, entry

        def give_back(self) -> None:
            """What runs waits for the next process; for one that ends in order."""
            if store.refused is not None:  # also in a child that this process has forked
                return
            alone = self.mutex.acquire(timeout=1)  # else somebody hangs, and this process ends
            try:
                self.history.settle()
                for item in list(self.currently_running.values()):
                    _try(store.give_back, item[1])
            finally:
                if alone:
                    self.mutex.release()

        def hand_over(self) -> None:
            """Give nothing more out; what runs waits again, at its place, for the next process."""
            self.hold()
            with self.mutex:
                self.give_back()
                for item in self.currently_running.values():
                    heapq.heappush(self.queue, item)
                self.currently_running.clear()
                self.server.queue_updated()

        def wipe_queue(self, *rest: Any, **named: Any) -> None:
            with self.mutex:
                _try(store.remove, [item[1] for item in self.queue], "waiting")
                super().wipe_queue(*rest, **named)

        def delete_queue_item(self, *rest: Any, **named: Any) -> bool:
            with self.mutex:
                before = {item[1] for item in self.queue}
                found = super().delete_queue_item(*rest, **named)
                _try(store.remove, before - {item[1] for item in self.queue}, "waiting")
                return found

    return DurableQueue


def _state_of(queue: Any) -> dict[str, Any]:
    """Return the attributes of a queue of the host, with containers of their own."""
    own = {name: value for name, value in vars(queue).items() if not hasattr(type(queue), name)}
    containers = (list, dict)
    return {
        name: copy.copy(value) if isinstance(value, containers) else value
        for name, value in own.items()
        if name != "history"  # is kept on disk
    }


def _give_back_at_the_end(queue: Any) -> None:
    """An orderly end is no death of what runs. SIGTERM then does what it did before."""
    atexit.register(queue.give_back)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def end(number: int, _frame: object) -> None:
        queue.give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


def _try(write: Callable[..., T], *values: Any) -> T | None:
    """A step that is also in memory: a disk that fails costs its durability, not the prompt."""
    try:
        return write(*values)
    except ZImageError as error:
        log.error("Z-Image: %s", error)
        return None

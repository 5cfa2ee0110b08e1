"""The host's prompt queue, kept on disk: an accepted prompt survives the process.

Prompts run in the order of ``number``, then of acceptance. A prompt that was running when the
process died runs again; after :data:`MAX_CRASHES` crashes it ends as failed instead. Values that
the host calls sensitive (API keys) are never written, so a restart loses them.
"""

from __future__ import annotations

import copy
import functools
import heapq
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from ...errors import ZImageError
from ..base.hooks import Argument
from ..base.limits import DEFAULTS
from ..base.prompt_outcome import failure
from .database import CLOSED, logged_errors
from .group_commit import GroupCommit
from .history_on_disk import HistoryOnDisk, page_of
from .prompt_store import NewPrompt, Row, Store

log = logging.getLogger(__name__)

MAX_CRASHES = 2
"""A prompt that was running when the process died this often does not run again."""


class Item(tuple):
    """A prompt as the host queues it, with an order that is always defined.

    The host compares whole tuples, which fails at dictionaries.
    """

    order: tuple[float, int]

    @classmethod
    def create(cls, fields: tuple[Any, ...], seq: int) -> Item:
        """Return an item of the host, accepted as the ``seq``-th."""
        item = cls(fields)
        item.order = (fields[0], seq)
        return item

    def __lt__(self, other: Any) -> bool:
        return self.order < other.order


if TYPE_CHECKING:
    HostQueue = Any
else:
    HostQueue = object


class DurableQueue(HostQueue):
    """The host's queue over a store; :func:`durable` adds the host's class.

    A new prompt is on disk before it is queued; all other steps are written right afterwards.
    While the store cannot be opened, the queue is empty and refuses prompts.

    Attributes:
        refused: why the store is not open; None while it is.
        quarantined: prompts that ended as failed because the process died of them.
        at_rest: set when the worker asks for a prompt after :meth:`hold`.
    """

    def __init__(
        self,
        original: Any,
        store: Store,
        max_waiting: int = DEFAULTS["waiting"],
        patience: float = 0.0,
    ) -> None:
        """Take over the attributes of the host's queue, with copies of its containers.

        Args:
            original: the host's queue.
            store: of the prompts.
            max_waiting: prompts that can wait at the same time.
            patience: as in :meth:`.Database.open`.
        """
        for name, value in vars(original).items():
            if name != "history" and not hasattr(type(original), name):
                setattr(self, name, copy.copy(value) if isinstance(value, (list, dict)) else value)
        self._item_argument = Argument(type(original).put, "item")
        self._history = HistoryOnDisk(store, self._is_unfinished)
        self.store = store
        self.max_waiting = max_waiting
        self.refused: ZImageError | None = store.error(CLOSED)
        self.quarantined: list[str] = []
        self.at_rest = threading.Event()
        self._may_run = threading.Event()
        self._may_run.set()
        self._group_commit = GroupCommit(self._write, self._enqueue)
        self._uncommitted: dict[str, tuple[NewPrompt, Callable[[int], None]]] = {}
        self.try_to_open(patience)

    def try_to_open(self, patience: float = 0.0) -> ZImageError | None:
        """Open the store unless it is open; return why it cannot be opened."""
        with self.mutex:
            if self.refused is None:
                return None
            try:
                self.store.open(patience)
                rows = self.store.requeue_unfinished()
            except ZImageError as error:
                self.refused = error
                return error
            self.refused = None
            for row in rows:
                self._restore(row)
            number = getattr(self.server, "number", 0)
            self.server.number = max(number, self.store.highest_number + 1)
            self.not_empty.notify()
            return None

    def _restore(self, row: Row) -> None:
        fields = (row.number, row.id, *row.item, {})
        if row.crash_count < MAX_CRASHES:
            heapq.heappush(self.queue, Item.create(fields, row.seq))
            return
        error = ZImageError("ZI-PROMPT-DEADLY", found=row.crash_count)
        log.error("Z-Image: %s: %s", row.id, error)
        result = {"outputs": {}, "meta": {}, "status": failure(row.id, error)._asdict()}
        self.history[row.id] = {"prompt": fields[:5], **result}
        self.quarantined.append(row.id)
        self.history.settle()

    @property
    def history(self) -> Any:
        """The entries on disk; the host and packs assign to it."""
        return self._history

    @history.setter
    def history(self, entries: Any) -> None:
        with self.mutex:
            self._history.replace(entries)

    def _is_unfinished(self, id: str) -> bool:
        items = chain(self.queue, self.currently_running.values())
        return id in self._uncommitted or any(item[1] == id for item in items)

    def put(self, *values: Any, **named: Any) -> None:
        """Accept a prompt; :mod:`.group_commit` says when it is durable and queued."""
        call = (self, *values)
        item = self._item_argument.of(call, named)
        number, id, *fields = item
        with self.mutex:
            if (refused := self.try_to_open()) is not None:
                raise refused
            waiting = len(self.queue) + len(self._uncommitted)
            if waiting >= self.max_waiting:
                raise ZImageError("ZI-QUEUE-FULL", found=waiting, maximum=self.max_waiting)
            self.history.settle()
            prompt = self.store.reserve(id, number, fields[:3])
            self._uncommitted[id] = prompt, functools.partial(self._put, item, call, named)
            if not self._group_commit.add(id):
                self._enqueue([id], self._write([id]))

    def _write(self, ids: list[str]) -> list[int]:
        """Make prompts durable and return their positions; forget them where that fails."""
        try:
            return self.store.accept([self._uncommitted[id][0] for id in ids])
        except BaseException:
            with self.mutex:
                for id in ids:
                    del self._uncommitted[id]
            raise

    def _enqueue(self, ids: list[str], seqs: list[int]) -> None:
        """Queue durable prompts, given their positions; a worker can start them from now on."""
        with self.mutex:
            puts = [self._uncommitted.pop(id)[1] for id in ids]
            for id, put, seq in zip(ids, puts, seqs, strict=True):
                self.history.forget(id)
                put(seq)

    def _put(
        self, item: tuple[Any, ...], call: tuple[Any, ...], named: dict[str, Any], seq: int
    ) -> None:
        """Call the host's ``put`` with the arguments of a call."""
        arguments, more = self._item_argument.replaced(call, named, Item.create(item, seq))
        super().put(*arguments[1:], **more)

    def hold(self) -> None:
        """Start no more prompts; those that wait are for the next process."""
        self._may_run.clear()

    def get(self, *arguments: Any, **named: Any) -> Any:
        """Return the next prompt as the host does, and write that it runs."""
        if not self._may_run.is_set():
            self.at_rest.set()
        self._may_run.wait()
        taken = super().get(*arguments, **named)
        if taken is not None:
            with logged_errors():
                self.store.begin(taken[0][1])
        return taken

    def task_done(self, *arguments: Any, **named: Any) -> None:
        """End a prompt as the host does, and write its result."""
        with self.mutex:
            super().task_done(*arguments, **named)
            self.history.settle()

    def listed(self, most: int | None, offset: int) -> Iterator[tuple[str, Any]]:
        """Yield what ``get_history`` returns; others can use the queue between entries."""
        with self.mutex:
            ids = page_of(list(self.history), most, offset)
        for id in ids:
            with self.mutex:
                entry = self.history.get(id)
            if entry is not None:
                yield id, entry

    def give_back(self) -> None:
        """Write that running prompts wait again, before the process ends in order."""
        if self.store.refused is not None:  # also in a child that this process has forked
            return
        locked = self.mutex.acquire(timeout=1)  # a thread may hang; the process ends anyway
        try:
            self.history.settle()
            for item in list(self.currently_running.values()):
                with logged_errors():
                    self.store.give_back(item[1])
        finally:
            if locked:
                self.mutex.release()

    def hand_over(self) -> None:
        """Start no more prompts, and queue running ones again, for the next process."""
        self.hold()
        with self.mutex:
            self.give_back()
            for item in self.currently_running.values():
                heapq.heappush(self.queue, item)
            self.currently_running.clear()
            self.server.queue_updated()

    def wipe_queue(self, *arguments: Any, **named: Any) -> None:
        """Delete all prompts that wait."""
        with self._deleting():
            super().wipe_queue(*arguments, **named)

    def delete_queue_item(self, *arguments: Any, **named: Any) -> bool:
        """Delete the first waiting prompt that a function chooses."""
        with self._deleting():
            return super().delete_queue_item(*arguments, **named)

    @contextmanager
    def _deleting(self) -> Iterator[None]:
        """Delete on disk what the host deletes from its queue meanwhile."""
        with self.mutex:
            before = {item[1] for item in self.queue}
            yield
            with logged_errors():
                self.store.remove(before - {item[1] for item in self.queue}, "waiting")


def durable(original: Any, store: Store, **settings: Any) -> DurableQueue:
    """Return a :class:`DurableQueue` that is also of the class of the host's queue."""
    return type("DurableQueue", (DurableQueue, type(original)), {})(original, store, **settings)

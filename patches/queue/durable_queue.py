"""The host's prompt queue, kept on disk: an accepted prompt survives the process.

Prompts run in the order of ``number``, then of acceptance. A prompt that was running when the
process died runs again; after :data:`DEATHS` deaths it ends as failed instead. Values that the host
calls sensitive (API keys) are never written, so after a restart such a prompt runs without them.
"""

from __future__ import annotations

import contextlib
import copy
import heapq
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import ZImageError
from ..base.hooks import Argument
from ..base.limits import DEFAULTS
from ..base.prompt_events import failure
from .group_commit import GroupCommit, Submission
from .history_on_disk import RECENT, HistoryOnDisk, page_of
from .store import Row, Store

log = logging.getLogger(__name__)
T = TypeVar("T")

DEATHS = 2
"""A prompt that was running when the process died this often is not run again."""


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

    class HostQueue:
        """What :class:`DurableQueue` uses of the host's ``PromptQueue``."""

        server: Any
        mutex: Any
        not_empty: Any
        queue: list[Any]
        currently_running: dict[int, Any]

        def __init__(self, server: Any) -> None: ...
        def put(self, *arguments: Any, **named: Any) -> None: ...
        def get(self, *arguments: Any, **named: Any) -> Any: ...
        def task_done(self, *arguments: Any, **named: Any) -> None: ...
        def get_history(self, *arguments: Any, **named: Any) -> Any: ...
        def wipe_queue(self, *arguments: Any, **named: Any) -> None: ...
        def delete_queue_item(self, *arguments: Any, **named: Any) -> bool: ...
else:
    HostQueue = object


class DurableQueue(HostQueue):
    """The host's queue over a store; :func:`durable_class` adds the host's class.

    A new prompt is on disk before it is queued; all other steps are written right afterwards.
    While the store cannot be opened, the queue is empty and refuses prompts.

    Attributes:
        refused: why the store is not open; None while it is.
        quarantined: prompts that ended as failed because the process died of them.
        at_rest: set when the worker asks for a prompt after :meth:`hold`.
        item_argument: ``item`` among the arguments of the host's ``put``.
        item_id_argument: ``item_id`` among those of its ``task_done``.
        id_argument: ``prompt_id`` among those of its ``get_history``.
        most_argument: ``max_items`` among the same.
    """

    item_argument: Argument
    item_id_argument: Argument
    id_argument: Argument
    most_argument: Argument

    def __init__(
        self,
        server: Any,
        store: Store,
        most_waiting: int = DEFAULTS["waiting"],
        patience: float = 0.0,
        template: Any = None,
    ) -> None:
        """Open the store unless it is open.

        Args:
            server: the host's ``PromptServer``.
            store: of the prompts.
            most_waiting: prompts that can wait at the same time.
            patience: as in :meth:`.store.Store.open`.
            template: a queue of the host, whose state is copied where the host's ``__init__``
                needs more than the server.
        """
        self._history: HistoryOnDisk | None = None
        if template is None:
            super().__init__(server)
        else:
            vars(self).update(_state_of(template))
        self._history = HistoryOnDisk(store, self._is_unfinished)
        self.store = store
        self.most_waiting = most_waiting
        self.refused: ZImageError | None = None
        self.quarantined: list[str] = []
        self.at_rest = threading.Event()
        self._may_run = threading.Event()
        self._may_run.set()
        self._submitted: set[str] = set()  # ids that are not in the queue yet
        self._commits = GroupCommit(self._commit)
        with contextlib.suppress(ZImageError):
            self._open(patience)

    def _open(self, patience: float = 0.0) -> None:
        try:
            self.store.open(patience)
            rows = self.store.requeue_unfinished()
        except ZImageError as error:
            self.refused = error
            raise
        self.refused = None
        for row in rows:
            self._restore(row)
        number = getattr(self.server, "number", 0)
        self.server.number = max(number, self.store.highest_number + 1)

    def try_to_open(self) -> ZImageError | None:
        """Open the store unless it is open; return why it cannot be opened."""
        with self.mutex:
            if self.refused is None:
                return None
            try:
                self._open()
            except ZImageError as error:
                return error
            log.warning("Z-Image: the queue is open, %d prompts wait", len(self.queue))
            self.server.queue_updated()
            self.not_empty.notify()
            return None

    def _restore(self, row: Row) -> None:
        fields = (row.number, row.id, *row.item, {})
        if row.crash_count < DEATHS:
            heapq.heappush(self.queue, Item.create(fields, row.seq))
            return
        error = ZImageError("ZI-PROMPT-DEADLY", found=row.crash_count)
        log.error("Z-Image: %s: %s", row.id, error)
        status = failure(row.id, error)._asdict()
        self.history[row.id] = {
            "prompt": fields[:5], "outputs": {}, "meta": {}, "status": status,
        }  # fmt: skip
        self.quarantined.append(row.id)
        self.history.settle()

    @property
    def history(self) -> Any:
        """The entries on disk; the host and packs assign to it."""
        return {} if self._history is None else self._history

    @history.setter
    def history(self, entries: Any) -> None:
        if self._history is not None:  # the host's __init__ sets an empty one
            with self.mutex:
                self._history.replace(entries)

    def _is_unfinished(self, id: str) -> bool:
        items = (*self.queue, *self.currently_running.values())
        return id in self._submitted or any(item[1] == id for item in items)

    def put(self, *values: Any, **named: Any) -> None:
        """Accept a prompt; :mod:`.group_commit` says when it is durable and queued."""
        call = (self, *values)
        item = self.item_argument.of(call, named)
        number, id, *fields = item

        def enqueue(item: tuple[Any, ...]) -> None:
            arguments, more = self.item_argument.replaced(call, named, item)
            super(DurableQueue, self).put(*arguments[1:], **more)

        with self.mutex:
            if (refused := self.try_to_open()) is not None:
                raise refused
            waiting = len(self.queue) + len(self._submitted)
            if waiting >= self.most_waiting:
                raise ZImageError("ZI-QUEUE-FULL", found=waiting, maximum=self.most_waiting)
            if id in self._submitted:
                raise ZImageError("ZI-PROMPT-TWICE", found=id)
            self.history.settle()
            prompt = self.store.new_prompt(id, number, fields[:3])
            submission = Submission(prompt, item, enqueue)
            self._submitted.add(id)
        self._commits.add(submission)

    def _commit(self, batch: list[Submission]) -> None:
        """Make submissions durable, then queue them; a worker can start them from now on."""
        try:
            seqs = self.store.accept([submission.prompt for submission in batch])
            with self.mutex:
                for submission, seq in zip(batch, seqs, strict=True):
                    self.history.forget(submission.prompt.id)
                    submission.enqueue(Item.create(submission.item, seq))
        except BaseException as error:  # noqa: BLE001 - each submitter gets it
            for submission in batch:
                submission.error = error
        with self.mutex:
            self._submitted.difference_update(submission.prompt.id for submission in batch)

    def hold(self) -> None:
        """Start no more prompts; those that wait are for the next process."""
        self._may_run.clear()

    def get(self, *arguments: Any, **named: Any) -> Any:
        """Return the next prompt as the host does, and write that it runs."""
        if not self._may_run.is_set():
            self.at_rest.set()
        self._may_run.wait()
        self.settle()
        taken = super().get(*arguments, **named)
        if taken is not None:
            _log_failure(self.store.begin, taken[0][1])
        return taken

    def task_done(self, *arguments: Any, **named: Any) -> None:
        """End a prompt as the host does, and write its result."""
        with self.mutex:
            item_id = self.item_id_argument.of((self, *arguments), named)
            item = self.currently_running.get(item_id)
            super().task_done(*arguments, **named)
            self.history.settle(ended=item[1] if item is not None else None)

    def settle(self) -> None:
        """Write ends that a failing disk did not take before."""
        with self.mutex:
            self.history.settle()

    def get_history(self, *arguments: Any, **named: Any) -> Any:
        """Return entries as the host does."""
        self.settle()
        prompt_id = self.id_argument.of((self, *arguments), named)
        max_items = self.most_argument.of((self, *arguments), named)
        if prompt_id is None and (max_items is None or max_items > RECENT):
            self.history.whole()
        return super().get_history(*arguments, **named)

    def listed(self, most: int | None, offset: int) -> Iterator[tuple[str, Any]]:
        """Yield what :meth:`get_history` returns; others can use the queue between entries."""
        with self.mutex:
            self.history.settle()
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
                _log_failure(self.store.give_back, item[1])
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
        with self.mutex:
            _log_failure(self.store.remove, [item[1] for item in self.queue], "waiting")
            super().wipe_queue(*arguments, **named)

    def delete_queue_item(self, *arguments: Any, **named: Any) -> bool:
        """Delete the first waiting prompt that a function chooses."""
        with self.mutex:
            before = {item[1] for item in self.queue}
            deleted = super().delete_queue_item(*arguments, **named)
            _log_failure(self.store.remove, before - {item[1] for item in self.queue}, "waiting")
            return deleted


def durable_class(base: type) -> type[DurableQueue]:
    """Return :class:`DurableQueue` as a subclass of the host's ``PromptQueue``."""
    host: Any = base
    arguments = {
        "item_argument": Argument(host.put, "item"),
        "item_id_argument": Argument(host.task_done, "item_id"),
        "id_argument": Argument(host.get_history, "prompt_id"),
        "most_argument": Argument(host.get_history, "max_items"),
    }
    return type("DurableQueue", (DurableQueue, base), arguments)


def _state_of(queue: Any) -> dict[str, Any]:
    """Return the attributes of a queue of the host, with containers of their own."""
    own = {name: value for name, value in vars(queue).items() if not hasattr(type(queue), name)}
    return {
        name: copy.copy(value) if isinstance(value, (list, dict)) else value
        for name, value in own.items()
        if name != "history"  # is kept on disk
    }


def _log_failure(write: Callable[..., T], *values: Any) -> T | None:
    """Write a step that is also in memory; a failing disk costs durability, not the prompt."""
    try:
        return write(*values)
    except ZImageError as error:
        log.error("Z-Image: %s", error)
        return None

"""The host's ``history``, kept on disk by the durable queue, with the newest entries in memory.

As Python objects an entry takes five to six times the memory of its text, and ten thousand entries
take hundreds of megabytes.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from itertools import islice
from typing import Any

from ...errors import ZImageError
from ..base.prompt_events import Entry, failure
from .store import Row, Store

log = logging.getLogger(__name__)

RECENT = 200
"""Entries that stay in memory (at most twice as many): clients ask for the newest."""
FOREIGN = 1000
"""Entries of prompts that were never in this queue; some packs add such."""
WHOLE_SECONDS = 600.0
"""How long entries stay in memory after a client read all of them: it asks again."""


class HistoryOnDisk(MutableMapping[str, Entry]):
    """Entries by id, in the order in which their prompts ended.

    :meth:`settle` writes new entries to the disk as JSON: other values come back as their ``repr``,
    tuples as lists. A failing disk is logged: entries then stay in memory, or cannot be deleted,
    and one that cannot be read says so. The caller holds the queue's mutex.
    """

    def __init__(
        self,
        store: Store,
        busy: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with what the store has.

        Args:
            store: of the entries.
            busy: whether a prompt waits or runs; its entry is not written.
            clock: monotonic time.
        """
        self.store = store
        self.busy = busy
        self.clock = clock
        self._unwritten: dict[str, Entry] = {}
        self._near: dict[str, Entry] = {}
        self._foreign: OrderedDict[str, Entry] = OrderedDict()
        self._whole_until = 0.0

    def settle(self, ended: str | None = None) -> None:
        """Write new entries, and those that a full disk did not take before.

        Args:
            ended: a prompt that has just ended; the long queue is not searched for it.
        """
        for id, entry in list(self._unwritten.items()):
            if id != ended and self.busy(id):  # a pack has set it
                continue
            try:
                self.store.end(id, {k: v for k, v in entry.items() if k != "prompt"})
            except ZImageError as error:
                log.error("Z-Image: %s", error)
                return
            self._unwritten.pop(id, None)
            if id in self.store.sizes:
                self._near[id] = entry
            else:
                self._foreign[id] = entry
                if len(self._foreign) > FOREIGN:
                    self._foreign.popitem(last=False)
        if len(self._near) > 2 * RECENT and self.clock() > self._whole_until:
            newest = list(islice(reversed(self.store.sizes), RECENT))
            self._near = {id: self._near[id] for id in reversed(newest) if id in self._near}

    def forget(self, id: str) -> None:
        """Drop an entry that is not on disk any more from memory."""
        for entries in (self._unwritten, self._near, self._foreign):
            entries.pop(id, None)

    def whole(self) -> None:
        """Keep entries in memory for a while: a client reads all of them."""
        self._whole_until = self.clock() + WHOLE_SECONDS

    def replace(self, entries: Mapping[str, Entry]) -> None:
        """Keep only these entries; packs assign ``history``."""
        if entries is self:
            return
        if not entries:
            self.clear()
        for id in [id for id in self if id not in entries]:
            del self[id]
        for id in entries:
            if id not in self:
                self[id] = entries[id]

    def __getitem__(self, id: str) -> Entry:
        for entries in (self._unwritten, self._foreign):
            if id in entries:
                return entries[id]
        if id in self._near and id in self.store.sizes:
            return self._near[id]
        try:
            row = self.store.ended(id)
        except ZImageError as error:
            log.error("Z-Image: %s: %s", id, error)
            return unreadable(id, error)
        if row is None:
            raise KeyError(id)
        entry = entry_of(row, row.result or {})
        if self.clock() < self._whole_until:
            self._near[id] = entry
        return entry

    def __setitem__(self, id: str, entry: Entry) -> None:
        self._unwritten[id] = entry

    def __delitem__(self, id: str) -> None:
        if id not in self:
            raise KeyError(id)
        self.settle()  # a prompt whose end is not on disk runs again after a restart
        try:
            self.store.remove([id], "ended")
        except ZImageError as error:
            log.error("Z-Image: %s", error)
        if id not in self.store.sizes:
            self._near.pop(id, None)
            self._foreign.pop(id, None)

    def clear(self) -> None:
        """Delete all entries in one transaction."""
        self.settle()
        try:
            self.store.clear_history()
        except ZImageError as error:
            log.error("Z-Image: %s", error)
            return
        self._near.clear()
        self._foreign.clear()

    def copy(self) -> dict[str, Entry]:
        """Return the entries as a dictionary."""
        return dict(self)

    def __contains__(self, id: object) -> bool:
        return id in self.store.sizes or id in self._unwritten or id in self._foreign

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._ids())

    def __len__(self) -> int:
        return len(self._ids()) if self._unwritten else len(self.store.sizes) + len(self._foreign)

    def _ids(self) -> list[str]:
        return list(dict.fromkeys([*self._foreign, *self.store.sizes, *self._unwritten]))


def entry_of(row: Row, result: dict[str, Any]) -> Entry:
    """Return a row as an entry of the host's history."""
    return {"prompt": (row.number, row.id, *row.item), **result}


def unreadable(id: str, error: ZImageError) -> Entry:
    """Return an entry for a row that cannot be read."""
    status = failure(id, error)._asdict()
    return {"prompt": (0, id, {}, {}, []), "outputs": {}, "meta": {}, "status": status}


def page_of(ids: list[str], most: int | None, offset: int) -> list[str]:
    """Return the ids that the host's ``get_history`` lists: from an offset, or the last (-1)."""
    if offset < 0 and most is not None:
        offset = len(ids) - most
    rest = ids[max(offset, 0) :]
    return rest if most is None else rest[: max(most, 1)]

"""The host's ``history`` where the durable queue keeps it: on disk, with the newest in memory.

As objects, an entry takes five to six times what it takes as text, and ten thousand grow a server
by hundreds of megabytes before the first one goes.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from itertools import islice
from typing import Any

from ...errors import ZImageError
from .prompt_events import Entry, failure
from .store import Row, Store

log = logging.getLogger(__name__)

RECENT = 200
"""Entries that stay in memory, up to twice as many: those that clients ask for."""
FOREIGN = 1000
"""Entries of others: packs put prompts in that never were in this queue."""
WHOLE_SECONDS = 600.0
"""For so long entries stay in memory after somebody read all of them, since he will again."""


class Ended(MutableMapping[str, Entry]):
    """Entries by id, those that ended first in front.

    What was set is on disk after :meth:`settle`, as JSON: values that have none come back as their
    ``repr``, tuples as lists. A disk that fails is told in the log: entries stay in memory then,
    or cannot be deleted, and one that cannot be read says so. The caller has the queue's mutex.
    """

    def __init__(
        self,
        store: Store,
        busy: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: ``busy`` tells whether a prompt waits or runs, and so has no end to be written."""
        self.store, self.busy, self.clock = store, busy, clock
        self._unwritten: dict[str, Entry] = {}
        self._near: dict[str, Entry] = {}
        self._foreign: OrderedDict[str, Entry] = OrderedDict()
        self._whole_until = 0.0

    def settle(self) -> None:
        """Write what was set, also what a full disk did not take before."""
        for id, entry in list(self._unwritten.items()):
            if self.busy(id):  # a pack says how it ended
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

    def tidy(self) -> None:
        """What can wait until there is time: ends into the database, old entries out of it."""
        try:
            self.store.flush()
        except ZImageError as error:
            log.error("Z-Image: %s", error)

    def forget(self, id: str) -> None:
        """An entry that is not on disk any more."""
        for near in (self._unwritten, self._near, self._foreign):
            near.pop(id, None)

    def whole(self) -> None:
        """Somebody reads all entries: those that are read stay in memory for a while."""
        self._whole_until = self.clock() + WHOLE_SECONDS

    def replace(self, entries: Mapping[str, Entry]) -> None:
        """Have these entries alone; packs assign ``history``."""
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
        for near in (self._unwritten, self._foreign):
            if id in near:
                return near[id]
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
        self.settle()  # an end that is not on disk would be a prompt that runs again
        try:
            self.store.remove([id], "ended")
        except ZImageError as error:
            log.error("Z-Image: %s", error)
        if id not in self.store.sizes:
            self._near.pop(id, None)
            self._foreign.pop(id, None)

    def clear(self) -> None:
        """Take all out, in one transaction."""
        self.settle()
        try:
            self.store.wipe()
        except ZImageError as error:
            log.error("Z-Image: %s", error)
            return
        self._near.clear()
        self._foreign.clear()

    def copy(self) -> dict[str, Entry]:
        """As a dictionary has it."""
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
    """What the host's history has of a prompt that has ended."""
    return {"prompt": (row.number, row.id, *row.item), **result}


def unreadable(id: str, error: ZImageError) -> Entry:
    """In the place of an entry that the disk does not give back."""
    status = failure(id, error)._asdict()
    return {"prompt": (0, id, {}, {}, []), "outputs": {}, "meta": {}, "status": status}


def part_of(ids: list[str], most: int | None, offset: int) -> list[str]:
    """What the host's ``get_history`` gives: from an offset on, or the last ones (-1)."""
    if offset < 0 and most is not None:
        offset = len(ids) - most
    rest = ids[max(offset, 0) :]
    return rest if most is None else rest[: max(most, 1)]

"""The host's ``history`` where the durable queue keeps it: on disk, with the newest in memory.

As objects, an entry takes five to six times what it takes as text, and ten thousand grow a server
by hundreds of megabytes before the first one goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from typing import Any

from .store import Store

RECENT = 200
"""Entries that stay in memory: those that clients ask for."""

Entry = dict[str, Any]


class Ended(MutableMapping[str, Entry]):
    """Entries by id, those that ended first in front.

    What was set is on disk after :meth:`settle`, as JSON: values that have none come back as their
    ``repr``, tuples as lists. The caller has the queue's mutex.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._unwritten: dict[str, Entry] = {}
        self._recent: OrderedDict[str, Entry] = OrderedDict()

    def settle(self) -> None:
        """Write what was set; raises ``ZI-QUEUE-FILE`` where that fails, and nothing is lost."""
        for id, entry in list(self._unwritten.items()):
            gone = self.store.end(id, {k: v for k, v in entry.items() if k != "prompt"})
            del self._unwritten[id]
            if id in self.store.sizes:
                self._recent[id] = entry
            if len(self._recent) > RECENT:
                self._recent.popitem(last=False)
            for one in gone:
                self._recent.pop(one, None)

    def forget(self, id: str) -> None:
        """An entry that is not on disk any more."""
        self._unwritten.pop(id, None)
        self._recent.pop(id, None)

    def __getitem__(self, id: str) -> Entry:
        for near in (self._unwritten, self._recent):
            if id in near:
                return near[id]
        row = self.store.ended(id)
        if row is None:
            raise KeyError(id)
        return {"prompt": (row.number, row.id, *row.item), **(row.result or {})}

    def __setitem__(self, id: str, entry: Entry) -> None:
        self._unwritten[id] = entry

    def __delitem__(self, id: str) -> None:
        if id not in self:
            raise KeyError(id)
        self.store.remove([id], "ended")
        self.forget(id)

    def clear(self) -> None:
        """Take all out, in one transaction."""
        self.store.remove(list(self), "ended")
        self._unwritten.clear()
        self._recent.clear()

    def __contains__(self, id: object) -> bool:
        return id in self._unwritten or id in self.store.sizes

    def __iter__(self) -> Iterator[str]:
        return iter([*self.store.sizes, *self._unwritten])

    def __reversed__(self) -> Iterator[str]:
        return reversed([*self.store.sizes, *self._unwritten])

    def __len__(self) -> int:
        return len(self.store.sizes) + len(self._unwritten)


def part_of(ids: list[str], most: int | None, offset: int) -> list[str]:
    """What the host's ``get_history`` gives: from an offset on, or the last ones (-1)."""
    if offset < 0 and most is not None:
        offset = len(ids) - most
    rest = ids[max(offset, 0) :]
    return rest if most is None else rest[: max(most, 1)]

"""The host's ``history``, kept on disk by the durable queue.

As Python objects an entry takes five to six times the memory of its text, and ten thousand entries
take hundreds of megabytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping

from ...errors import ZImageError
from ..base.prompt_outcome import Entry, failure
from .database import logged_errors
from .prompt_store import Store

log = logging.getLogger(__name__)

FOREIGN = 1000
"""Entries of prompts that were never in this queue; some packs add such."""


class HistoryOnDisk(MutableMapping[str, Entry]):
    """Entries by id, in the order in which their prompts ended.

    :meth:`settle` writes new entries to the disk as JSON: other values come back as their ``repr``,
    tuples as lists. A failing disk is logged: entries then stay in memory, or cannot be deleted,
    and one that cannot be read says so. The caller holds the queue's mutex.
    """

    def __init__(self, store: Store, busy: Callable[[str], bool]) -> None:
        """Start with what the store has; ``busy`` returns whether a prompt waits or runs."""
        self.store = store
        self.busy = busy
        self._unwritten: dict[str, Entry] = {}
        self._foreign: dict[str, Entry] = {}

    def settle(self) -> None:
        """Write new entries, and those that a failing disk did not take before."""
        for id, entry in list(self._unwritten.items()):
            if self.busy(id):  # a pack has set it
                continue
            try:
                self.store.end(id, {k: v for k, v in entry.items() if k != "prompt"})
            except ZImageError as error:
                log.error("Z-Image: %s", error)
                return
            del self._unwritten[id]
            if id not in self.store.sizes:
                self._foreign[id] = entry
                if len(self._foreign) > FOREIGN:
                    del self._foreign[next(iter(self._foreign))]

    def forget(self, id: str) -> None:
        """Drop an entry that is not on disk any more from memory."""
        self._unwritten.pop(id, None)
        self._foreign.pop(id, None)

    def replace(self, entries: Mapping[str, Entry]) -> None:
        """Keep only these entries; packs assign ``history``."""
        self._remove([id for id in self if id not in entries])
        for id in entries:
            if id not in self:
                self[id] = entries[id]

    def _remove(self, ids: list[str]) -> None:
        self.settle()  # a prompt whose end is not on disk runs again after a restart
        with logged_errors():
            self.store.remove(ids, "ended")
        for id in ids:
            self._foreign.pop(id, None)

    def __getitem__(self, id: str) -> Entry:
        for entries in (self._unwritten, self._foreign):
            if id in entries:
                return entries[id]
        try:
            row = self.store.ended_prompt(id)
        except ZImageError as error:
            log.error("Z-Image: %s: %s", id, error)
            status = failure(id, error)._asdict()
            return {"prompt": (0, id, {}, {}, []), "outputs": {}, "meta": {}, "status": status}
        if row is None:
            raise KeyError(id)
        return {"prompt": (row.number, row.id, *row.item), **(row.result or {})}

    def __setitem__(self, id: str, entry: Entry) -> None:
        self._unwritten[id] = entry

    def __delitem__(self, id: str) -> None:
        if id not in self:
            raise KeyError(id)
        self._remove([id])

    def clear(self) -> None:
        """Delete all entries in one transaction."""
        self._remove(list(self))

    def copy(self) -> dict[str, Entry]:
        """Return the entries as a dictionary."""
        return dict(self)

    def __contains__(self, id: object) -> bool:
        return id in self.store.sizes or id in self._unwritten or id in self._foreign

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._foreign, *self.store.sizes, *self._unwritten]))

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))

    def __len__(self) -> int:
        new = sum(id not in self.store.sizes for id in self._unwritten.keys() | self._foreign)
        return len(self.store.sizes) + new


def page_of(ids: list[str], most: int | None, offset: int) -> list[str]:
    """Return the ids that the host's ``get_history`` lists: from an offset, or the last (-1)."""
    if offset < 0 and most is not None:
        offset = len(ids) - most
    rest = ids[max(offset, 0) :]
    return rest if most is None else rest[: max(most, 1)]

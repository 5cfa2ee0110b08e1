"""Objects of the host that packs have created, and may therefore change."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from ..protocol.exceptions import QuotaError
from ..protocol.operations import kind_of
from .value_tree import objects_in

MAX_CREATED = 1000
"""Existing objects that one worker may have created."""


class HasQuota(Protocol):
    """The session with a worker."""

    @property
    def quota(self) -> int:
        """Bytes that the host stores for the worker."""
        ...


class CreatedObjects:
    """Objects by the session that created them, and the bytes that the pack has stored in each.

    Tensors are not counted here. All references are weak.
    """

    def __init__(self) -> None:
        self._by_session: weakref.WeakKeyDictionary[Any, weakref.WeakKeyDictionary[Any, int]] = (
            weakref.WeakKeyDictionary()
        )

    def add(self, session: Any, value: Any, known: Any = (), copy_of: Any = None) -> None:
        """Note that objects were created for a session.

        Args:
            session: with the worker.
            value: contains the new objects.
            known: contains objects that existed before.
            copy_of: an object whose stored bytes the new ones have, too.
        """
        created = self._by_session.setdefault(session, weakref.WeakKeyDictionary())
        existing = {id(item) for item in objects_in(known)}
        copied_bytes = 0 if copy_of is None else created.get(copy_of, 0)
        for item in objects_in(value):
            if id(item) not in existing and kind_of(item) != "OTHER":
                created[item] = max(copied_bytes, created.get(item, 0))

    def has(self, session: Any, value: Any) -> bool:
        """Return whether a session has created an object."""
        return value in self._by_session.get(session, ())

    def charge(self, session: Any, value: Any, size: int) -> None:
        """Add bytes to the created objects inside of a value."""
        created = self._by_session.get(session, {})
        for item in objects_in(value):
            if kind_of(item) != "OTHER" and item in created:
                created[item] += size

    def require_quota(self, session: HasQuota, size: int) -> None:
        """Check that a session may store more bytes in its objects.

        Raises:
            QuotaError: it has as much as it may.
        """
        created = self._by_session.get(session, {})
        if len(created) > MAX_CREATED:
            raise QuotaError(f"{MAX_CREATED} objects that this pack has made")
        stored = sum(list(created.values())) + size
        if stored > session.quota:
            raise QuotaError(f"{stored} > {session.quota} bytes in objects of this pack")


created = CreatedObjects()

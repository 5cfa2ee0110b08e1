"""The guardian as parts of the hardening see it.

The part that is connected to the guardian registers its connection here. Other parts ask the
guardian for the end of this process without importing that part. While no connection is
registered, nobody hears a request.
"""

from __future__ import annotations

from typing import Any, Protocol


class Connection(Protocol):
    """A connection to the guardian of this process."""

    @property
    def serves(self) -> bool:
        """Whether the guardian has activated this server."""
        ...

    @property
    def is_heard(self) -> bool:
        """Whether the guardian is connected and has activated this server."""
        ...

    def ask_to_be_killed(self, reason: str) -> bool:
        """Ask for the immediate end of this process; return whether the guardian heard it."""
        ...

    def ask_to_be_replaced(self, reason: str) -> bool:
        """Ask for another process and the orderly end of this one; return as above."""
        ...

    def report_failure(self, request: str, reason: str) -> None:
        """Ask the guardian for another process as soon as the running prompt has ended."""
        ...


_connection: Connection | None = None

memory_at_rest: dict[str, Any] | None = None
"""Memory when it was last returned after a prompt, for the heartbeat: ``prompts`` until then,
``resident`` in MiB, and ``models`` that were loaded."""


def register(connection: Connection | None) -> None:
    """Use a connection from now on, or none."""
    global _connection
    _connection = connection


def serves() -> bool:
    """Return whether a guardian has activated this server.

    Then only a server that the guardian is ending can still use the files that servers share.
    """
    return _connection is not None and _connection.serves


def is_heard() -> bool:
    """Return whether a guardian could replace this process now."""
    return _connection is not None and _connection.is_heard


def ask_to_be_killed(reason: str) -> bool:
    """Ask for the immediate end of this process; return whether a guardian heard it."""
    return _connection is not None and _connection.ask_to_be_killed(reason)


def ask_to_be_replaced(reason: str) -> bool:
    """Ask for another process and the orderly end of this one; return as above."""
    return _connection is not None and _connection.ask_to_be_replaced(reason)


def report_failure(request: str, reason: str) -> None:
    """Have this process replaced as soon as the running prompt has ended.

    Args:
        request: ``kill``, or ``sick`` where the GPU does not work anymore.
        reason: text for the guardian's log.
    """
    if _connection is not None:
        _connection.report_failure(request, reason)


def report_memory(reading: dict[str, Any]) -> None:
    """Set :data:`memory_at_rest`."""
    global memory_at_rest
    memory_at_rest = reading

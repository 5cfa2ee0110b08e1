"""What code in a worker needs of the connection to the host."""

from __future__ import annotations

from typing import Any, Protocol

from ..protocol import messages as m


class HostClient(Protocol):
    """Requests and messages to the host; :class:`.worker.Worker` implements it."""

    def ask(self, target: m.HostRef | None, name: str, arguments: Any) -> Any:
        """Have the host run an operation, and return its result.

        Args:
            target: an object of the host; None for a function.
            name: of the operation.
            arguments: positional arguments and a dictionary of named ones.

        Raises:
            HostError: the host refused or failed.
        """
        ...

    def send_event(self, kind: str, value: Any) -> None:
        """Send the page an event (see :class:`messages.Event`)."""
        ...

    def release(self, number: int, count: int) -> None:
        """Release references to an object of the host; the host learns of it later."""
        ...

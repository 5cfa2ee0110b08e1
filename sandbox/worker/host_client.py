"""The interface through which code in a worker reaches the host."""

from __future__ import annotations

from typing import Any, Protocol

from ..protocol import messages as m


class HostClient(Protocol):
    """Sends requests and messages to the host; :class:`.worker.Worker` implements it."""

    def ask(self, target: m.HostRef | None, name: str, arguments: Any) -> Any:
        """Have the host run an operation, and return its result.

        Args:
            target: an object of the host; None for a function.
            name: of the operation.
            arguments: as the operation expects them, mostly a list of the positional arguments
                and a dictionary of the named ones.

        Raises:
            HostError: no call of the host runs here, or the operation failed.
            Exception: the operation failed with a builtin exception, which is raised as the same
                type, or with one of ComfyUI's for interrupts and memory.
        """
        ...

    def send_event(self, kind: str, value: Any) -> None:
        """Send the page an event (see :class:`.messages.Event`)."""
        ...

    def release(self, number: int, count: int) -> None:
        """Release references to an object of the host. They are sent later, with others.

        Args:
            number: of the object.
            count: how many references.
        """
        ...

"""Calls a function for each descriptor that has become readable."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Callable
from typing import Protocol


class HasDescriptor(Protocol):
    """An object with a file descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


class DescriptorWatcher:
    """A selector with one handler for each descriptor."""

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._selector = selectors.DefaultSelector()

    def watch(self, source: HasDescriptor, handler: Callable[[], object]) -> None:
        """Call a handler whenever a descriptor is readable.

        Args:
            source: the owner of the descriptor.
            handler: the function to call; it reads what is there.
        """
        self._selector.register(source, selectors.EVENT_READ, handler)

    def unwatch(self, source: HasDescriptor) -> None:
        """Stop watching a descriptor; one that is not watched is no error."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(source)

    def wait(self, seconds: float) -> None:
        """Wait for readable descriptors and call their handlers.

        Args:
            seconds: the longest time to wait.
        """
        for key, _ in self._selector.select(seconds):
            # An earlier handler may have closed this descriptor.
            if key in self._selector.get_map().values():
                key.data()

    def close(self) -> None:
        """Stop watching everything."""
        self._selector.close()

"""Handlers of readable descriptors."""

from __future__ import annotations

import socket

from zimage_comfyui.guardian.descriptor_watcher import DescriptorWatcher


def test_a_handler_that_was_removed_meanwhile_is_not_called() -> None:
    """Of two readable sockets, the first handler closes the other one."""
    watcher = DescriptorWatcher()
    readers, writers = zip(*(socket.socketpair() for _ in range(2)), strict=True)
    called: list[int] = []

    def handle(number: int) -> None:
        called.append(number)
        other = readers[1 - number]
        watcher.unwatch(other)
        other.close()

    for number, reader in enumerate(readers):
        watcher.watch(reader, lambda number=number: handle(number))
    for writer in writers:
        writer.send(b"x")
    watcher.wait(10)
    assert len(called) == 1
    watcher.close()
    for each in (*readers, *writers):
        each.close()


def test_a_descriptor_that_is_not_watched_can_be_removed() -> None:
    """Removing it twice, or after it was closed, is no error."""
    watcher = DescriptorWatcher()
    reader, writer = socket.socketpair()
    watcher.watch(reader, lambda: None)
    watcher.unwatch(reader)
    watcher.unwatch(reader)
    reader.close()
    watcher.unwatch(reader)
    writer.close()
    watcher.close()

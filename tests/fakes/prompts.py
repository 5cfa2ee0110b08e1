"""Prompts for a store, without a queue around it."""

from __future__ import annotations

from typing import Any

from zimage_comfyui.patches.queue.prompt_store import Store

ITEM = [{"1": {"class_type": "A", "inputs": {}}}, {"client_id": "c"}, ["1"]]


def accept(store: Store, id: str, number: float = 0, item: list[Any] | None = None) -> int:
    """Keep one prompt as the queue does; its position."""
    (seq,) = store.accept([store.reserve(id, number, ITEM if item is None else item)])
    return seq

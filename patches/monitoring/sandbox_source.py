"""What is told of sandboxes, by whoever has them: this layer knows nothing of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

NONE: dict[str, Any] = {
    "mode": "off", "packs": {}, "trusted": [], "blocked": [], "findings": [], "restart_for": []
}  # fmt: skip
"""Where no pack runs in a sandbox."""

_source: Callable[[], dict[str, Any]] = lambda: NONE  # noqa: E731


def tell(source: Callable[[], dict[str, Any]]) -> None:
    """From now on, this is asked how the sandboxes are."""
    global _source
    _source = source


_kept: Callable[[], int] = lambda: 0  # noqa: E731


def count(kept: Callable[[], int]) -> None:
    """From now on, this is asked what they keep of the server's memory for their next use."""
    global _kept
    _kept = kept


def kept() -> int:
    """Bytes of this process, given back a while after the last use: no prompt has left them."""
    return _kept()


def describe() -> dict[str, Any]:
    """For ``/health`` and the panel."""
    return _source()


def families() -> Iterator[tuple[str, str, str, dict[str, float]]]:
    """For ``/metrics``; nothing where there is no sandbox."""
    packs = describe()["packs"]
    if not packs:
        return

    def each(key: str) -> dict[str, float]:
        return {_label(name): about[key] for name, about in packs.items()}

    up = {_label(name): about["status"] == "running" for name, about in packs.items()}
    yield "sandbox_up", "gauge", "1 if the process of a pack is running.", up
    yield "sandbox_starts_total", "counter", "Processes of a pack.", each("starts")
    yield "sandbox_ends_total", "counter", "Of them, those that ended.", each("ends")
    yield "sandbox_memory_bytes", "gauge", "Memory of a pack's own.", each("memory_bytes")


def _label(pack: str) -> str:
    text = pack.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{pack="{text}"}}'

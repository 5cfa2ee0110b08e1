"""``GET /metrics``: numbers about the server for Prometheus.

Names follow Prometheus' conventions: base units in the name, ``_total`` for counters. A part that
is switched off has no metrics, not metrics of 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiohttp import web

from ..base import comfyui, refusals, sandbox_source
from . import process
from .families import Family, label
from .health import Health

TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one server.

    Args:
        health: of the server.
    """

    def __init__(self, health: Health) -> None:
        self.health = health

    async def answer(self, _request: web.Request) -> web.Response:
        """Answer ``GET /metrics``."""
        return web.Response(body=self.text().encode(), headers={"Content-Type": TYPE})

    def text(self) -> str:
        """Return all metrics; takes about a millisecond."""
        return "".join(family.text() for family in self.families())

    def families(self) -> Iterator[Family]:
        """Yield all metrics."""
        yield from self._server()
        yield from self._queue()
        yield from self._prompts()
        yield from self._memory()
        yield from self._swaps()
        yield from self._disks()
        yield from sandbox_families()
        yield from process.families()

    def _server(self) -> Iterator[Family]:
        health = self.health
        yield Family.of("up", "gauge", "1 if a prompt would run now.", not health.reasons())
        yield Family.of(
            "uptime_seconds", "gauge", "Time since the pack was loaded.", health.uptime()
        )
        yield Family.of(
            "reduced",
            "gauge",
            "1 in a degraded mode of the guardian: without other packs, or without a GPU.",
            health.mode() != "normal",
        )
        active = {
            label("part", name): state.describe()["status"] == "active"
            for name, state in health.registry.states.items()
        }
        yield Family("patch_active", "gauge", "1 if a part of the hardening is active.", active)

    def _queue(self) -> Iterator[Family]:
        queue = self.health.server.prompt_queue
        running = len(queue.currently_running)
        yield Family.of("queue_running", "gauge", "Prompts that run.", running)
        yield Family.of("queue_waiting", "gauge", "Prompts that wait.", len(queue.queue))
        yield Family.of("history_entries", "gauge", "Prompts in the history.", len(queue.history))
        models = len(comfyui.models())
        yield Family.of("models_loaded", "gauge", "Models that the host has loaded.", models)

    def _prompts(self) -> Iterator[Family]:
        refused = {label("code", code): count for code, count in refusals.counts.items()}
        yield Family("refusals_total", "counter", "Requests refused, by code.", refused)
        if (logs := self._active_part("logs")) is None:
            return
        ended = {label("status", status): count for status, count in logs.ended.items()}
        yield Family("prompts_total", "counter", "Prompts that ended, by status.", ended)
        seconds = {"_sum": logs.seconds, "_count": logs.ended.total()}
        yield Family("prompt_seconds", "summary", "Run time of prompts.", seconds)

    def _memory(self) -> Iterator[Family]:
        memory = self._active_part("memory")
        if memory is not None:
            yield Family.of(
                "memory_deviation_ratio",
                "gauge",
                "Memory that the last prompt left in use, as a ratio of all memory in use.",
                memory.last,
            )
            yield Family.of(
                "memory_deviations_total",
                "counter",
                "Prompts that left more than 3 % of the memory in use.",
                memory.counts["deviations"],
            )
            yield Family.of(
                "memory_releases_total",
                "counter",
                "Times that memory was returned to the system.",
                memory.counts["released"],
            )
        residency = self._active_part("residency")
        if residency is not None:
            yield Family.of(
                "idle_unloads_total",
                "counter",
                "Times that all models were unloaded because the server was idle.",
                residency.unloads,
            )

    def _swaps(self) -> Iterator[Family]:
        memory = self._active_part("memory")
        # Each object counts the swaps of one place; None if the part is not in use.
        sources = {
            "ram": None if memory is None else memory.admission,
            "gpu": self._active_part("swap"),
        }
        swaps = {
            label("place", place): source for place, source in sources.items() if source is not None
        }
        if not swaps:
            return
        yield Family(
            "model_swaps_total",
            "counter",
            "Models that were unloaded to make room for another one.",
            {key: source.swaps for key, source in swaps.items()},
        )
        yield Family(
            "model_swaps_incomplete_total",
            "counter",
            "Model swaps that left memory in use.",
            {key: source.incomplete for key, source in swaps.items()},
        )

    def _disks(self) -> Iterator[Family]:
        if (disk := self._active_part("disk")) is None:
            return
        uses = {label("folder", name): use for name, use in disk.watch.uses.items()}
        yield Family(
            "disk_used_ratio",
            "gauge",
            "Used part of a folder's disk: space or inodes, whichever is scarcer.",
            {key: use.percent / 100 for key, use in uses.items()},
        )
        yield Family(
            "disk_free_bytes",
            "gauge",
            "Free space on a folder's disk.",
            {key: use.free for key, use in uses.items()},
        )

    def _active_part(self, name: str) -> Any:
        """Return a part that is in use, None without it."""
        return getattr(self.health.registry.states.get(name), "part", None)


def sandbox_families() -> Iterator[Family]:
    """Yield the metrics of sandboxes; nothing where there is none."""
    packs = sandbox_source.describe()["packs"]
    if not packs:
        return

    def samples(key: str) -> dict[str, float]:
        return {label("pack", name): pack[key] for name, pack in packs.items()}

    up = {label("pack", name): pack["status"] == "running" for name, pack in packs.items()}
    yield Family("sandbox_up", "gauge", "1 if the process of a pack is running.", up)
    yield Family(
        "sandbox_starts_total", "counter", "Processes of a pack that started.", samples("starts")
    )
    yield Family(
        "sandbox_ends_total", "counter", "Processes of a pack that ended.", samples("ends")
    )
    yield Family(
        "sandbox_memory_bytes",
        "gauge",
        "Memory of a pack's process.",
        samples("memory_bytes"),
    )

"""``GET /metrics``: the same as ``/health`` and some counts, as Prometheus reads it.

Text format 0.0.4. What a part that is switched off would count is left out, rather than 0.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import psutil
from aiohttp import web

from ..base import comfyui
from ..memory import ram
from ..requests import fuse
from . import sandbox_source

if TYPE_CHECKING:
    from .health import Health

TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = Mapping[str, float]
"""Values by what follows the metric's name: labels in braces, ``_sum``, or nothing."""


class Metrics:
    """What one server measures."""

    def __init__(self, health: Health) -> None:
        self.health = health

    async def answer(self, _request: web.Request) -> web.Response:
        """``GET /metrics``."""
        return web.Response(body=self.text().encode(), headers={"Content-Type": TYPE})

    def text(self) -> str:
        """All metrics; takes about a millisecond."""
        families = (
            *self._server(), *self._prompts(), *self._memory(), *self._disks(),
            *sandbox_source.families(), *_process(),
        )  # fmt: skip
        return "".join(family(*one) for one in families)

    def _server(self) -> Iterator[tuple[str, str, str, Samples]]:
        health, queue = self.health, self.health.server.prompt_queue
        yield "up", "gauge", "1 if a prompt would run now.", {"": not health.reasons()}
        yield (
            "uptime_seconds", "gauge", "Since the pack was loaded.",
            {"": health.clock() - health.began},
        )  # fmt: skip
        yield (
            "reduced", "gauge", "1 while a guardian has started less: no other packs, or no GPU.",
            {"": health.mode() != "normal"},
        )  # fmt: skip
        yield "queue_running", "gauge", "Prompts that run.", {"": len(queue.currently_running)}
        yield "queue_waiting", "gauge", "Prompts that wait.", {"": len(queue.queue)}
        yield "history_entries", "gauge", "Prompts in the history.", {"": len(queue.history)}
        yield "models_loaded", "gauge", "Models in the host's hands.", {"": len(comfyui.models())}
        parts = {
            f'{{part="{name}"}}': one.describe()["status"] == "active"
            for name, one in health.registry.states.items()
        }
        yield "patch_active", "gauge", "1 if a part of the hardening is active.", parts

    def _prompts(self) -> Iterator[tuple[str, str, str, Samples]]:
        refused = {f'{{code="{code}"}}': count for code, count in fuse.refused.items()}
        yield "refusals_total", "counter", "Requests refused, by code.", refused
        if (logs := self._part("logs")) is None:
            return
        ended = {f'{{status="{status}"}}': count for status, count in logs.ended.items()}
        yield "prompts_total", "counter", "Prompts that ended, by how they did.", ended
        spent = {"_sum": logs.seconds, "_count": logs.ended.total()}
        yield "prompt_seconds", "summary", "Time for which prompts ran.", spent

    def _memory(self) -> Iterator[tuple[str, str, str, Samples]]:
        memory, swap, idle = map(self._part, ("memory", "swap", "residency"))
        if memory is not None:
            yield (
                "memory_deviation_ratio", "gauge",
                "What the last prompt that moved memory left in use, as a part of all in use.",
                {"": memory.last},
            )  # fmt: skip
            counts = memory.counts
            yield (
                "memory_deviations_total", "counter", "Prompts that left more than 3 % in use.",
                {"": counts["deviations"]},
            )  # fmt: skip
            yield (
                "memory_releases_total", "counter", "How often memory was given back.",
                {"": counts["released"]},
            )  # fmt: skip
        found = {"ram": memory and memory.reserve, "gpu": swap}
        places = {f'{{place="{name}"}}': one for name, one in found.items() if one is not None}
        if places:
            yield (
                "model_swaps_total", "counter", "How often a model had to go for another one.",
                {label: one.swaps for label, one in places.items()},
            )  # fmt: skip
            yield (
                "model_swaps_incomplete_total", "counter", "Of them, those that left some behind.",
                {label: one.incomplete for label, one in places.items()},
            )  # fmt: skip
        if idle is not None:
            yield (
                "idle_unloads_total", "counter", "How often all models were unloaded.",
                {"": idle.unloads},
            )  # fmt: skip

    def _disks(self) -> Iterator[tuple[str, str, str, Samples]]:
        if (disk := self._part("disk")) is None:
            return
        uses = {f'{{folder="{name}"}}': use for name, use in disk.watch.uses.items()}
        yield (
            "disk_used_ratio", "gauge",
            "Part of the disk of a folder that is in use: space or inodes, whichever is scarcer.",
            {label: use.percent / 100 for label, use in uses.items()},
        )  # fmt: skip
        yield (
            "disk_free_bytes", "gauge", "Space on the disk of a folder.",
            {label: use.free for label, use in uses.items()},
        )  # fmt: skip

    def _part(self, name: str) -> Any:
        """A part of the hardening that is in use, None without it."""
        return getattr(self.health.registry.states.get(name), "part", None)


def family(name: str, kind: str, about: str, samples: Samples) -> str:
    """One metric of the pack with all its samples."""
    name = f"zimage_{name}"
    lines = [f"{name}{labels} {value + 0}\n" for labels, value in samples.items()]
    return f"# HELP {name} {about}\n# TYPE {name} {kind}\n{''.join(lines)}"


def gpu_reserved() -> int:
    """Bytes that this process holds on its GPU, 0 without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return torch.cuda.memory_reserved()


def _process() -> Iterator[tuple[str, str, str, Samples]]:
    process = psutil.Process()
    yield "resident_memory_bytes", "gauge", "RAM of this process.", {"": ram.resident()}
    yield (
        "gpu_memory_reserved_bytes", "gauge", "Held by this process on its GPU, 0 without one.",
        {"": gpu_reserved()},
    )  # fmt: skip
    yield "open_file_descriptors", "gauge", "Of this process.", {"": process.num_fds()}
    yield "threads", "gauge", "Of this process.", {"": process.num_threads()}

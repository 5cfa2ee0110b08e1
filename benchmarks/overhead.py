"""Overhead: time that the hardening adds to a prompt, from its submission to its history.

Two servers of the same host run at the same time, with all parts of the hardening and with none.
They get prompts in turns: a trivial prompt and a Turbo picture of the bundled models.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import _common
from _client import PATIENCE, Graph, PromptClient, trivial_graph, turbo_graph

KINDS = ("bare", "hardened")
TRIVIAL, BLOCK = 200, 4096
"""Pairs of trivial prompts, and bytes that are written to the disk after each."""
TURBO_RATIO, TRIVIAL_MS = 1.03, 2.0
"""Goals: ratio of Turbo pictures; milliseconds in addition to one fsync for a trivial prompt."""


def main(argv: list[str]) -> int:
    """Measure both kinds of prompt; return exit code 0 if every prompt succeeded."""
    options = _common.parser(__doc__ or "", repeats=20).parse_args(argv)
    _common.load_pack()
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder, ExitStack() as running:
        servers = {kind: running.enter_context(start(kind, Path(folder))) for kind in KINDS}
        for kind, server in servers.items():
            check_parts(kind, server)
        figures = asyncio.run(_measure(servers, Path(folder) / "hardened", options.repeats))
    return _common.finish("overhead", options, figures, _table(figures))


def start(kind: str, folder: Path, more: dict[str, str] | None = None) -> Any:
    """Return a server of a kind in its own folder; ``more`` are environment variables."""
    from zimage_comfyui.cli.server import Server
    from zimage_comfyui.patches.base.registry import NAMES

    off = {"ZIMAGE_OFF": ",".join(NAMES) if kind == "bare" else ""}
    _common.say(f"starting {kind}")
    host, pack = _common.the_host(), _common.pack_dir()
    return Server(host, pack, folder / kind, timeout=PATIENCE, env=os.environ | off | (more or {}))


def check_parts(kind: str, server: Any) -> None:
    """Check that all parts of the hardening are active, or off for the bare host."""
    parts = server.client.get("/health")["patches"]
    expected = "off" if kind == "bare" else "active"
    different = {name: part["status"] for name, part in parts.items() if part["status"] != expected}
    different.pop("guarded", None)  # these servers run without a guardian
    if different:
        raise SystemExit(f"{kind}: {different}, expected {expected}")


async def _measure(servers: dict[str, Any], folder: Path, repeats: int) -> dict[str, Any]:
    syncs: list[float] = []

    def between() -> None:
        syncs.append(sync(folder))

    async with AsyncExitStack() as open_clients:
        clients = {
            kind: await open_clients.enter_async_context(PromptClient(server))
            for kind, server in servers.items()
        }
        prompts = {"trivial": await _pairs(clients, trivial_graph, TRIVIAL, between)}
        prompts["turbo"] = await _pairs(clients, turbo_graph, repeats)
    fsync = statistics.median(syncs)
    added = prompts["trivial"]["difference_ms"]["median"]
    return {
        "prompts": prompts,
        "fsync_ms": _common.summary(syncs),
        "goals": {
            "turbo_ratio": TURBO_RATIO,
            "turbo_met": prompts["turbo"]["ratio"]["median"] <= TURBO_RATIO,
            "trivial_ms": round(fsync + TRIVIAL_MS, 4),
            "beside_fsync_ms": TRIVIAL_MS,
            "trivial_met": added <= fsync + TRIVIAL_MS,
        },
    }


async def _pairs(
    clients: dict[str, PromptClient],
    graph: Callable[[int], Graph],
    count: int,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Run prompts on both servers in alternating order; the first pair is not counted."""
    results: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for index in range(count + 1):
        for kind in KINDS if index % 2 else KINDS[::-1]:
            results[kind].append(await clients[kind].run(graph(index)))
        between()
    return compared({kind: runs[1:] for kind, runs in results.items()})


def compared(results: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return medians of each kind, of the differences of pairs and of their ratios."""
    pairs = list(zip(results["bare"], results["hardened"], strict=True))
    return {
        **{f"{kind}_ms": _common.summary([run["done"] for run in results[kind]]) for kind in KINDS},
        "difference_ms": _common.summary([ours["done"] - bare["done"] for bare, ours in pairs]),
        "ratio": _common.summary([ours["done"] / bare["done"] for bare, ours in pairs]),
        "accepted_difference_ms": _common.summary(
            [ours["accepted"] - bare["accepted"] for bare, ours in pairs]
        ),
    }


def sync(folder: Path) -> float:
    """Return the milliseconds of writing 4 KiB with an ``fsync``."""
    with (folder / "sync.bin").open("ab", buffering=0) as file:
        began = time.perf_counter()
        file.write(bytes(BLOCK))
        os.fsync(file.fileno())
        return (time.perf_counter() - began) * 1000


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{'':9}{'bare':>11}{'hardened':>11}{'added':>10}{'ratio':>8}{'until 200':>11}"]
    for name, result in figures["prompts"].items():
        bare, ours, added, ratio, accepted = (values["median"] for values in result.values())
        lines.append(
            f"{name:9}{bare:8.2f} ms{ours:8.2f} ms{added:7.2f} ms{ratio:8.3f}{accepted:8.2f} ms"
        )
    goals = figures["goals"]
    lines.append(f"fsync of 4 KiB: {figures['fsync_ms']['median']:.2f} ms")
    for name, text in (
        ("turbo", f"ratio <= {goals['turbo_ratio']}"),
        ("trivial", f"added <= fsync + {TRIVIAL_MS:.0f} ms = {goals['trivial_ms']:.2f} ms"),
    ):
        lines.append(f"{name}: {text}: {'met' if goals[f'{name}_met'] else 'NOT MET'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

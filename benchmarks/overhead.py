"""Overhead: what the hardening adds to a prompt, from its submission to its history.

The same host twice, with every part of the hardening and with none, alive together and asked in
turns: a prompt that does next to nothing and a Turbo picture of the bundled models.
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
from _asker import PATIENCE, Asker, Graph, trivial_graph, turbo_graph

KINDS = ("bare", "hardened")
TRIVIAL, BLOCK = 200, 4096
"""Pairs of trivial prompts, with one write of so many bytes to the disk after each."""
TURBO_RATIO, TRIVIAL_MS = 1.03, 2.0
"""Goals: the ratio of Turbo pictures; what a trivial prompt costs beside one fsync of this run."""


def main(argv: list[str]) -> int:
    """Measure both kinds of prompt; exit code 0 when every prompt succeeded."""
    options = _common.parser(__doc__ or "", repeats=20).parse_args(argv)
    _common.load_pack()
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder, ExitStack() as running:
        servers = {kind: running.enter_context(start(kind, Path(folder))) for kind in KINDS}
        for kind, server in servers.items():
            check_parts(kind, server)
        figures = asyncio.run(_measure(servers, Path(folder) / "hardened", options.repeats))
    return _common.finish("overhead", options, figures, _table(figures))


def start(kind: str, folder: Path, more: dict[str, str] | None = None) -> Any:
    """A server of a kind with its files in a folder of its own; ``more`` is for its environment."""
    from zimage_comfyui.cli.server import Server
    from zimage_comfyui.patches.base.registry import NAMES

    off = {"ZIMAGE_OFF": ",".join(NAMES) if kind == "bare" else ""}
    _common.say(f"starting {kind}")
    host, pack = _common.the_host(), _common.pack_dir()
    return Server(host, pack, folder / kind, timeout=PATIENCE, env=os.environ | off | (more or {}))


def check_parts(kind: str, server: Any) -> None:
    """What is compared is what it is called."""
    parts = server.client.get("/health")["patches"]
    wanted = "off" if kind == "bare" else "active"
    found = {name: part["status"] for name, part in parts.items() if part["status"] != wanted}
    found.pop("guarded", None)  # there is no guardian
    if found:
        raise SystemExit(f"{kind}: {found}, expected {wanted}")


async def _measure(servers: dict[str, Any], folder: Path, repeats: int) -> dict[str, Any]:
    syncs: list[float] = []

    def between() -> None:
        syncs.append(sync(folder))

    async with AsyncExitStack() as open_clients:
        askers = {
            kind: await open_clients.enter_async_context(Asker(server))
            for kind, server in servers.items()
        }
        prompts = {"trivial": await _pairs(askers, trivial_graph, TRIVIAL, between)}
        prompts["turbo"] = await _pairs(askers, turbo_graph, repeats)
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
    askers: dict[str, Asker],
    graph: Callable[[int], Graph],
    count: int,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Both servers in turns, each first as often as second; the first pair is not counted."""
    took: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for index in range(count + 1):
        for kind in KINDS if index % 2 else KINDS[::-1]:
            took[kind].append(await askers[kind].run(graph(index)))
        between()
    return compared({kind: runs[1:] for kind, runs in took.items()})


def compared(took: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of each kind, of the pairs' differences and of their ratios."""
    pairs = list(zip(took["bare"], took["hardened"], strict=True))
    return {
        **{f"{kind}_ms": _common.summary([run["done"] for run in took[kind]]) for kind in KINDS},
        "difference_ms": _common.summary([ours["done"] - bare["done"] for bare, ours in pairs]),
        "ratio": _common.summary([ours["done"] / bare["done"] for bare, ours in pairs]),
        "accepted_difference_ms": _common.summary(
            [ours["accepted"] - bare["accepted"] for bare, ours in pairs]
        ),
    }


def sync(folder: Path) -> float:
    """Milliseconds of writing 4 KiB and waiting until the disk has them."""
    with (folder / "sync.bin").open("ab", buffering=0) as file:
        began = time.perf_counter()
        file.write(bytes(BLOCK))
        os.fsync(file.fileno())
        return (time.perf_counter() - began) * 1000


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{'':9}{'bare':>11}{'hardened':>11}{'added':>10}{'ratio':>8}{'until 200':>11}"]
    for name, one in figures["prompts"].items():
        bare, ours, added, ratio, accepted = (values["median"] for values in one.values())
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

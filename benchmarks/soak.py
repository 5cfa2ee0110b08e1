"""Soak: thousands of mixed requests to one hardened server, and whether anything grows.

Pictures of both variants, trivial prompts, failing nodes and refused requests in random order.
Resident memory, descriptors, threads and child processes are read while nothing runs; slopes come
with their 95 % intervals. Which models are in memory changes its level by more than anything that
grows, so readings are compared with those of the same models. The first and the last picture have
to be the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import _common
import psutil
from PIL import Image, ImageDraw

EVERY = 50
"""Requests between two readings."""
WARM = 0.2
"""Share of the run that counts as warming up: the first of everything is loaded in it."""
MIX = {"trivial": 60, "turbo": 20, "base": 2, "failing": 10, "refused": 8}


def main(argv: list[str]) -> int:
    """Run the mix; exit code 0 unless a prompt was lost or the pictures differ."""
    parser = _common.parser(__doc__ or "", repeats=5000)
    parser.add_argument("--seed", type=int, default=7, help="order of the requests")
    parser.add_argument("--idle", type=float, default=0, metavar="MINUTES", help="wait at the end")
    parser.add_argument("--plot", default="", metavar="FILE", help="also draw the curves (PNG)")
    options = parser.parse_args(argv)
    os.environ["ZIMAGE_SANDBOX"] = "off"  # the failing nodes are meant for the server itself
    _common.load_pack()
    from zimage_comfyui.cli.server import Server
    from zimage_comfyui.drill import nodes

    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        packs = Path(folder) / "packs" / "trouble.py"
        packs.parent.mkdir()
        packs.write_bytes(Path(str(nodes.__file__)).read_bytes())
        paths = packs.parent / "paths.yaml"
        paths.write_text(json.dumps({"trouble": {"custom_nodes": str(packs.parent)}}))
        arguments = ("--extra-model-paths-config", str(paths))
        host, pack = _common.the_host(), _common.pack_dir()
        with Server(host, pack, Path(folder) / "server", arguments) as server:
            figures = _soak(server, options.repeats, random.Random(options.seed))
            figures["idle"] = _idle(server, options.idle)
    if options.plot:
        draw(figures["readings"], Path(options.plot))
    code = _common.finish("soak", options, figures, _table(figures))
    return code or int(bool(figures["lost"]) or not figures["same_bytes"])


def _soak(server: Any, requests: int, dice: random.Random) -> dict[str, Any]:
    process = psutil.Process(server.process.pid)
    first = _picture(server, "turbo", 1)
    readings = []
    lost = 0
    for number in range(1, requests + 1):
        (kind,) = dice.choices(list(MIX), list(MIX.values()))
        lost += not _request(server, kind, number)
        if number % EVERY == 0:
            readings.append({"request": number, **_settle(server), **_reading(process)})
            _common.say(f"{number}/{requests}: {readings[-1]['rss_mib']:.0f} MiB")
    warm = [one for one in readings if one["request"] > WARM * requests]
    slopes = {
        name: slope([(one["request"] / 1000, one[name], one["models"]) for one in warm])
        for name in ("rss_mib", "descriptors", "threads", "children")
    }
    return {
        "requests": requests,
        "mix": MIX,
        "lost": lost,
        "same_bytes": _picture(server, "turbo", 1) == first,
        "sets_of_models": len({one["models"] for one in warm}),
        "per_1000_requests": slopes,
        "residue_percent": statistics.median(abs(one["residue_percent"]) for one in warm),
        "readings": readings,
    }


def _idle(server: Any, minutes: float) -> list[dict[str, float]]:
    """Readings of a server that nobody asks anything, one every minute."""
    process = psutil.Process(server.process.pid)
    readings = [{"minute": 0, **_reading(process)}]
    for minute in range(1, round(minutes) + 1):
        time.sleep(60)
        readings.append({"minute": minute, **_reading(process)})
        _common.say(f"idle {minute}/{minutes:g} min: {readings[-1]['rss_mib']:.0f} MiB")
    return readings


def _request(server: Any, kind: str, number: int) -> bool:
    """Whether it ended as it should."""
    if kind == "refused":
        return server.client.request("/prompt", [number])[0] == 400
    if kind in {"turbo", "base"}:
        return bool(_picture(server, kind, number))
    trouble = "raise" if kind == "failing" else "none"
    node = {"class_type": "Trouble", "inputs": {"kind": trouble, "note": str(number)}}
    return server.client.run({"1": node}).succeeded is (kind == "trivial")


def _picture(server: Any, variant: str, seed: int) -> str:
    """Digest of a small picture; empty when it failed."""
    name = {"turbo": "电商海报生成", "base": "Base 高质量"}[variant]
    path = _common.pack_dir() / "workflows" / "api" / f"{name}.json"
    graph = json.loads(path.read_text(encoding="utf-8"))
    for node in graph.values():
        if node["class_type"] == "ZImageLatent":
            node["inputs"] |= {"size": "custom", "width": 256, "height": 256}
        if node["class_type"] == "ZImageSampler":
            node["inputs"]["seed"] = seed
    done = server.client.run(graph)
    if not done.succeeded:
        return ""
    digest = hashlib.sha256(server.client.view(done.images[0])).hexdigest()
    for image in done.images:
        (server.folder / "output" / image["subfolder"] / image["filename"]).unlink()
    return digest


def _settle(server: Any) -> dict[str, Any]:
    """Wait until what the last prompt took has been given back, which its client need not.

    Returns:
        ``residue_percent``, what the last prompt that moved memory left in use and no model
        accounts for, and ``models``, the sizes of those that are loaded.
    """
    for _ in range(3000):
        found = server.client.get("/health")
        memory, models = (found["patches"][name] for name in ("memory", "residency"))
        if found["queue"]["history"] <= memory["prompts"] + memory["refused"]:  # bounded
            loaded = sorted(one["mb"] for one in models["models"])
            return {
                "residue_percent": round(100 * memory["last_deviation"], 3),
                "models": " + ".join(map(str, loaded)),
            }
        time.sleep(0.02)
    raise SystemExit("a minute after its last prompt the server has not given its memory back")


def _reading(process: psutil.Process) -> dict[str, float]:
    with process.oneshot():
        return {
            "rss_mib": round(process.memory_info().rss / _common.MIB, 1),
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
            "children": len(process.children(recursive=True)),
        }


def slope(points: list[tuple[float, float, str]]) -> dict[str, float | None]:
    """Least squares with one slope and a level for each kind, and half its 95 % interval (normal).

    Both are None for too few points.

    Args:
        points: x, y and kind.
    """
    kinds = defaultdict(list)
    for x, y, kind in points:
        kinds[kind].append((x, y))
    means = {
        kind: [statistics.fmean(axis) for axis in zip(*of, strict=True)]
        for kind, of in kinds.items()
    }
    apart = [(x - means[kind][0], y - means[kind][1]) for x, y, kind in points]
    width = sum(x * x for x, _ in apart)
    free = len(points) - len(kinds) - 1
    if free < 1 or not width:
        return {"slope": None, "plus_minus": None}
    found = sum(x * y for x, y in apart) / width
    spread = math.sqrt(sum((y - found * x) ** 2 for x, y in apart) / free / width)
    return {"slope": round(found, 3), "plus_minus": round(1.96 * spread, 3)}


def draw(readings: list[dict[str, float]], path: Path) -> None:
    """Memory, descriptors and threads over requests, one below the other."""
    width, height, edge = 900, 180, 60
    names = {"rss_mib": "resident memory, MiB", "descriptors": "descriptors", "threads": "threads"}
    image = Image.new("RGB", (width, height * len(names)), "white")
    pen = ImageDraw.Draw(image)
    last = max(one["request"] for one in readings)
    for row, (name, title) in enumerate(names.items()):
        values = [one[name] for one in readings]
        low, high = min(values), max(max(values), min(values) + 1)
        top, bottom = row * height + 30, (row + 1) * height - 25
        pen.text((edge, top - 22), f"{title}: {low:g} to {max(values):g}", fill="black")
        pen.rectangle((edge, top, width - 20, bottom), outline="#999")
        points = [
            (edge + (width - 20 - edge) * one["request"] / last,
             bottom - (bottom - top) * (one[name] - low) / (high - low))
            for one in readings
        ]  # fmt: skip
        pen.line(points, fill="#1f5fbf", width=2)
        pen.text((edge, bottom + 4), f"0 to {last:g} requests", fill="#666")
    image.save(path)


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{figures['requests']} requests, lost {figures['lost']}, "
             f"same bytes {figures['same_bytes']}",
             f"left by a prompt: {figures['residue_percent']} %", "per 1000 requests:"]  # fmt: skip
    for name, one in figures["per_1000_requests"].items():
        if one["slope"] is None:
            lines.append(f"  {name:12} too few readings")
        else:
            lines.append(f"  {name:12} {one['slope']:+8.3f} ± {one['plus_minus']:.3f}")
    if len(figures["idle"]) > 1:
        first, last = figures["idle"][0], figures["idle"][-1]
        changes = (f"{name} {last[name] - first[name]:+g}" for name in figures["per_1000_requests"])
        lines.append(f"after {last['minute']} idle minutes: {', '.join(changes)}")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))

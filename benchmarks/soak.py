"""Soak: growth of a hardened server's resources over thousands of mixed requests.

The requests are in random order: trivial prompts, pictures of both variants, every template,
failing and exiting nodes, refused requests, and clients that disconnect. Resident memory,
descriptors, threads and child processes are read while the server is idle; slopes have 95 %
intervals. The loaded models affect memory more than any growth, so readings are compared among the
same models. The first and the last picture must have the same bytes. A second server gets some
hundred requests and is then idle for an hour.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import _common
import _plots
import psutil

EVERY = 50
"""Requests between two readings."""
WARM = 0.2
"""Share of the run that is not counted, because modules and models are loaded in it."""
MIX = {
    "trivial": 54,
    "turbo": 18,
    "base": 2,
    "template": 3,
    "failing": 10,
    "exiting": 2,
    "refused": 8,
    "vanishing": 3,
}
BEFORE_IDLE = 300
"""Requests to the server that is idle afterwards."""
REFUSED = ([1], "text", {}, {"prompt": []}, {"prompt": {"1": 5}}, {"prompt": {}})
PLOTS = {"rss_mib": "resident memory, MiB", "descriptors": "descriptors", "threads": "threads"}


def main(argv: list[str]) -> int:
    """Run the requests; return exit code 0 unless a prompt was lost or the pictures differ."""
    parser = _common.parser(__doc__ or "", repeats=5000)
    parser.add_argument("--seed", type=int, default=7, help="seed of the order of requests")
    parser.add_argument(
        "--idle", type=float, default=60, metavar="MINUTES", help="time of an idle server"
    )
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
        with ExitStack() as running:
            names = ("idle", "server") if options.idle else ("server",)
            servers = {
                name: running.enter_context(Server(host, pack, Path(folder) / name, arguments))
                for name in names
            }
            idle = Idle(servers["idle"], options.idle) if options.idle else None
            figures = _soak(servers["server"], options.repeats, random.Random(options.seed))
            figures["idle"] = idle.wait() if idle else []
    if options.plot:
        draw(figures["readings"], figures["idle"], Path(options.plot))
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
    warm = [reading for reading in readings if reading["request"] > WARM * requests]
    slopes = {
        name: slope(
            [(reading["request"] / 1000, reading[name], reading["models"]) for reading in warm]
        )
        for name in ("rss_mib", "descriptors", "threads", "children")
    }
    return {
        "requests": requests,
        "mix": MIX,
        "lost": lost,
        "same_bytes": _picture(server, "turbo", 1) == first,
        "sets_of_models": len({reading["models"] for reading in warm}),
        "per_1000_requests": slopes,
        "residue_percent": statistics.median(abs(reading["residue_percent"]) for reading in warm),
        "readings": readings,
    }


class Idle:
    """A server that gets some requests and is then idle; it is read every minute."""

    def __init__(self, server: Any, minutes: float) -> None:
        dice = random.Random(1)
        self.minutes = round(minutes)
        for number in range(BEFORE_IDLE):
            (kind,) = dice.choices(list(MIX), list(MIX.values()))
            _request(server, kind, number)
        _settle(server)
        self.process = psutil.Process(server.process.pid)
        self.readings = [{"minute": 0, **_reading(self.process)}]
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        for minute in range(1, self.minutes + 1):
            time.sleep(60)
            self.readings.append({"minute": minute, **_reading(self.process)})

    def wait(self) -> list[dict[str, float]]:
        """Wait for the last reading; return all readings."""
        self.thread.join()
        return self.readings


def _request(server: Any, kind: str, number: int) -> bool:
    """Send a request; return whether it ended as expected."""
    if kind == "refused":
        return server.client.request("/prompt", REFUSED[number % len(REFUSED)])[0] == 400
    if kind in {"turbo", "base"}:
        return bool(_picture(server, kind, number))
    if kind == "template":
        return _template(server, number)
    trouble = {"failing": "raise", "exiting": "exit"}.get(kind, "none")
    node = {"class_type": "Trouble", "inputs": {"kind": trouble, "note": str(number)}}
    if kind == "vanishing":
        return _vanish(server, {"1": node}, f"soak-{number}")
    return server.client.run({"1": node}).succeeded is (trouble == "none")


def _template(server: Any, seed: int) -> bool:
    """Run a template with another seed."""
    from zimage_comfyui.cli import templates

    names = templates.names(_common.pack_dir())
    path = templates.find(_common.pack_dir(), names[seed % len(names)])
    done = server.client.run(templates.with_seed(templates.load(path), seed))
    _remove(server, done.images)
    return done.succeeded


def _vanish(server: Any, graph: dict[str, Any], name: str) -> bool:
    """Submit a prompt with a WebSocket that is not read, and reset it while the prompt runs."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(
            f"GET /ws?clientId={name} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        if b" 101 " not in connection.recv(4096):
            return False
        body = {"prompt": graph, "client_id": name}
        status, answer = server.client.request("/prompt", body)
    if status != 200:
        return False
    id, until = json.loads(answer)["prompt_id"], time.monotonic() + 60
    while time.monotonic() < until:
        entry = server.client.get(f"/history/{id}").get(id)
        if entry:
            return entry["status"]["status_str"] == "success"
        time.sleep(0.01)
    return False


def _picture(server: Any, variant: str, seed: int) -> str:
    """Return the SHA-256 of a small picture; empty for a failure."""
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
    _remove(server, done.images)
    return digest


def _remove(server: Any, images: list[dict[str, str]]) -> None:
    for image in images:
        if image["type"] == "output":
            (server.folder / "output" / image["subfolder"] / image["filename"]).unlink()


def _settle(server: Any) -> dict[str, Any]:
    """Wait until the server has freed the memory of the last prompt.

    Returns:
        ``residue_percent``: memory that the last prompt left in use, without loaded models;
        ``models``: the sizes of loaded models.
    """
    for _ in range(3000):
        health = server.client.get("/health")
        memory, models = (health["patches"][name] for name in ("memory", "residency"))
        if health["queue"]["history"] <= memory["prompts"] + memory["refused"]:  # bounded
            loaded = sorted(model["mb"] for model in models["models"])
            return {
                "residue_percent": round(100 * memory["last_deviation"], 3),
                "models": " + ".join(map(str, loaded)),
            }
        time.sleep(0.02)
    raise SystemExit("the server has not freed its memory a minute after its last prompt")


def _reading(process: psutil.Process) -> dict[str, float]:
    with process.oneshot():
        return {
            "rss_mib": round(process.memory_info().rss / _common.MIB, 1),
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
            "children": len(process.children(recursive=True)),
        }


def slope(points: list[tuple[float, float, str]]) -> dict[str, float | None]:
    """Fit one slope and a level for each kind by least squares.

    Args:
        points: x, y and kind.

    Returns:
        The slope and half of its 95 % interval (normal distribution); None for too few points.
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
    gradient = sum(x * y for x, y in apart) / width
    spread = math.sqrt(sum((y - gradient * x) ** 2 for x, y in apart) / free / width)
    return {"slope": round(gradient, 3), "plus_minus": round(1.96 * spread, 3)}


def draw(readings: list[dict[str, float]], idle: list[dict[str, float]], path: Path) -> None:
    """Write memory, descriptors and threads over requests, and memory over idle time, as PNG."""
    rows = [
        _plots.Curve(
            title, [(reading["request"], reading[name]) for reading in readings], "requests"
        )
        for name, title in PLOTS.items()
    ]
    if len(idle) > 1:
        alone = [(reading["minute"], reading["rss_mib"]) for reading in idle]
        rows.append(
            _plots.Curve("resident memory of a server that is left alone, MiB", alone, "minutes")
        )
    _plots.curves(rows, path)


def _table(figures: dict[str, Any]) -> str:
    lines = [
        f"{figures['requests']} requests, lost {figures['lost']}, "
        f"same bytes {figures['same_bytes']}",
        f"left by a prompt: {figures['residue_percent']} %",
        "per 1000 requests:",
    ]
    for name, growth in figures["per_1000_requests"].items():
        if growth["slope"] is None:
            lines.append(f"  {name:12} too few readings")
        else:
            lines.append(f"  {name:12} {growth['slope']:+8.3f} ± {growth['plus_minus']:.3f}")
    if len(figures["idle"]) > 1:
        first, last = figures["idle"][0], figures["idle"][-1]
        changes = (f"{name} {last[name] - first[name]:+g}" for name in figures["per_1000_requests"])
        lines.append(f"after {last['minute']} idle minutes: {', '.join(changes)}")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))

"""Submissions: prompts that a server accepts in a second, from one client and from sixteen.

Two servers of the same host run at the same time, with all parts of the hardening and with none,
and get submissions in turns. A submission is a ``POST /prompt`` of a trivial prompt until its
response 200. Meanwhile the worker runs accepted prompts as usual.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import _common
from _client import trivial_graph
from overhead import KINDS, check_parts, start, sync

CONNECTIONS = (16, 1)
SUBMISSIONS = 2000
SYNCS = 20
"""Writes of 4 KiB with an ``fsync`` for each repetition."""
GOAL, AIM = 0.7, 0.9
"""Share of the bare host's rate with the most connections: required and desired."""
LIMITS = {"ZIMAGE_LIMITS": f"waiting={100 * SUBMISSIONS}"}


def main(argv: list[str]) -> int:
    """Measure both servers; return exit code 0 if every prompt was accepted."""
    parser = _common.parser(__doc__ or "", repeats=5)
    parser.add_argument("--count", type=int, default=SUBMISSIONS, help="submissions of a run")
    options = parser.parse_args(argv)
    _common.load_pack()
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder, ExitStack() as running:
        servers = {kind: running.enter_context(start(kind, Path(folder), LIMITS)) for kind in KINDS}
        for kind, server in servers.items():
            check_parts(kind, server)
        figures = asyncio.run(_measure(servers, Path(folder), options))
    return _common.finish("submissions", options, figures, _table(figures))


async def _measure(servers: dict[str, Any], folder: Path, options: Any) -> dict[str, Any]:
    syncs: list[float] = []
    rates: dict[int, dict[str, list[float]]] = {
        connections: {kind: [] for kind in KINDS} for connections in CONNECTIONS
    }
    for repeat in range(options.repeats + 1):  # the first is not counted
        for connections in CONNECTIONS:
            for kind in KINDS if repeat % 2 else KINDS[::-1]:
                rate = await _submit(servers[kind], connections, options.count)
                _common.say(f"{connections:2} connections, {kind}: {rate:.0f} a second")
                if repeat:
                    rates[connections][kind].append(rate)
        syncs += [sync(folder / "hardened") for _ in range(SYNCS)]
    return summarized(rates) | {"submissions": options.count, "fsync_ms": _common.summary(syncs)}


def summarized(rates: dict[int, dict[str, list[float]]]) -> dict[str, Any]:
    """Return medians of rates and of the ratios of pairs, by connections, and the goal."""
    connections = {}
    for count, of_kind in rates.items():
        pairs = zip(of_kind["bare"], of_kind["hardened"], strict=True)
        connections[str(count)] = {
            **{f"{kind}_rate": _common.summary(of_kind[kind]) for kind in KINDS},
            "ratio": _common.summary([hardened / bare for bare, hardened in pairs]),
        }
    ratio = connections[str(max(rates))]["ratio"]["median"]
    return {"connections": connections, "goals": {"ratio": GOAL, "met": ratio >= GOAL}}


async def _submit(server: Any, connections: int, count: int) -> float:
    """Return accepted submissions per second; wait until the queue is empty."""
    graphs = iter([_request(index) for index in range(count)])
    clients = [await Connection.open(server.url) for _ in range(connections)]

    async def work(client: Connection) -> None:
        for request in graphs:
            await client.send(request)

    began = time.perf_counter()
    await asyncio.gather(*map(work, clients))
    seconds = time.perf_counter() - began
    await clients[0].send(_post("/queue", {"clear": True}))
    while server.client.get("/prompt")["exec_info"]["queue_remaining"]:
        await asyncio.sleep(0.1)
    for client in clients:
        client.close()
    return count / seconds


class Connection:
    """A persistent HTTP/1.1 connection, with less overhead than that of a library."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str) -> Connection:
        """Connect to a server."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def send(self, request: bytes) -> None:
        """Send a request and read the response, which must be 200."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].partition("\r")[0])
        body = await self.reader.readexactly(length)
        if head.split()[1] != "200":
            raise SystemExit(f"{head.splitlines()[0]} {body[:500]!r}")

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()


def _request(index: int) -> bytes:
    return _post("/prompt", {"prompt": trivial_graph(index), "client_id": "bench"})


def _post(path: str, body: object) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{'connections':12}{'bare':>12}{'hardened':>12}{'ratio':>8}"]
    for count, values in figures["connections"].items():
        bare, hardened, ratio = (
            values[name]["median"] for name in ("bare_rate", "hardened_rate", "ratio")
        )
        lines.append(f"{count:12}{bare:10.0f}/s{hardened:10.0f}/s{ratio:8.3f}")
    goals = figures["goals"]
    lines.append(f"fsync of 4 KiB: {figures['fsync_ms']['median']:.2f} ms")
    met = "met" if goals["met"] else "NOT MET"
    lines.append(f"ratio >= {goals['ratio']} with {max(CONNECTIONS)} connections: {met}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

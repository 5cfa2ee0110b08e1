"""Startup: seconds and memory until a server responds, for the bare host and with this pack.

Both kinds start in turns, each until its API responds. They load no other node pack.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import _common

KINDS = ("bare", "pack")


def main(argv: list[str]) -> int:
    """Start both kinds in turns; return exit code 0 if every start succeeded."""
    options = _common.parser(__doc__ or "", repeats=5).parse_args(argv)
    _common.load_pack()
    from _contenders import pack_name

    allowed = {"bare": (), "pack": ("--whitelist-custom-nodes", pack_name())}
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    rss: dict[str, list[float]] = {kind: [] for kind in KINDS}
    nodes: dict[str, int] = {}
    for index in range(options.repeats + 1):  # the first of each fills the disk cache
        for kind in KINDS if index % 2 else KINDS[::-1]:
            duration, peak, nodes[kind] = _start(("--disable-all-custom-nodes", *allowed[kind]))
            _common.say(f"{kind} {index}: {duration:.2f} s{'' if index else ' (not counted)'}")
            if index:
                seconds[kind].append(duration)
                rss[kind].append(peak / _common.MIB)
    figures = {
        "contenders": {
            kind: {
                "seconds": _common.summary(seconds[kind]),
                "peak_rss_mib": _common.summary(rss[kind]),
                "nodes": nodes[kind],
            }
            for kind in KINDS
        },
        "ratios": {"pack/bare": _ratio(seconds, rss)},
    }
    return _common.finish("startup", options, figures, _table(figures))


def _start(arguments: tuple[str, ...]) -> tuple[float, int, int]:
    """Return seconds until the API responds, peak RSS in bytes, and number of nodes."""
    from zimage_comfyui.cli.server import Server

    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        server = Server(_common.the_host(), _common.pack_dir(), Path(folder), arguments)
        try:
            server.start()
            assert server.process is not None
            nodes = len(server.client.get("/object_info"))
            return server.seconds_to_start, _common.peak_rss(server.process.pid), nodes
        finally:
            server.stop()


def _ratio(seconds: dict[str, list[float]], rss: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of the ratios of consecutive starts."""
    return {
        name: round(
            statistics.median(
                pack / bare for pack, bare in zip(values["pack"], values["bare"], strict=True)
            ),
            3,
        )
        for name, values in (("seconds", seconds), ("peak_rss_mib", rss))
    }


def _table(figures: dict[str, Any]) -> str:
    """Return the table."""
    lines = [f"{'':6} {'seconds':>8} {'min':>6} {'max':>6} {'RSS MiB':>8} {'nodes':>6}"]
    for kind, result in figures["contenders"].items():
        duration = result["seconds"]
        lines.append(
            f"{kind:6} {duration['median']:8.2f} {duration['min']:6.2f} {duration['max']:6.2f} "
            f"{result['peak_rss_mib']['median']:8.0f} {result['nodes']:6}"
        )
    ratio = figures["ratios"]["pack/bare"]
    lines.append(f"pack/bare: seconds {ratio['seconds']:.3f}, memory {ratio['peak_rss_mib']:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

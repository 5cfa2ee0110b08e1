"""Conversion: compare the prompts of ``to-api`` with those of ComfyUI's page.

All official and bundled templates are converted in a headless Chromium on a real ComfyUI with the
pack. Values that the page generates are ignored, see ``differences`` in
tests/browser/conversion.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _common


def main(argv: list[str]) -> int:
    """Convert all templates; return exit code 0 if the page could convert each."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--count", type=int, help="number of templates of each set")
    options = parser.parse_args(argv)
    _common.load_pack()
    from zimage_comfyui.tests.fakes.workflows import official

    bundled = sorted((_common.pack_dir() / "workflows").glob("*.json"))
    sets = {"official": official()[: options.count], "bundled": bundled[: options.count]}
    figures = {"sets": measure(sets), "chromium": _version()}
    return _common.finish("conversion", options, figures, _table(figures["sets"]))


def _program() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    return path or sys.exit("no Chromium on PATH: apt install chromium")


def _version() -> str:
    output = subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True)
    return output.stdout.split()[1]


def measure(sets: dict[str, list[Path]]) -> dict[str, Any]:
    """Convert each set by the page and by ``to-api``."""
    from zimage_comfyui.cli.server import Server
    from zimage_comfyui.tests.browser.chromium import FIRST_VISIT_IS_OVER, launched
    from zimage_comfyui.tests.browser.conversion import converter
    from zimage_comfyui.validator.knowledge import Knowledge

    os.environ["ZIMAGE_SANDBOX"] = "off"
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        _common.say("starting ComfyUI and Chromium")
        with (
            Server(_common.the_host(), _common.pack_dir(), Path(folder)) as server,
            launched(_program()) as browser,
        ):
            server.client.request("/settings", FIRST_VISIT_IS_OVER)
            knowledge = Knowledge(server.client.get("/object_info"))
            with converter(browser, server.url) as ask:
                return {name: one_set(name, paths, ask, knowledge) for name, paths in sets.items()}


def one_set(name: str, paths: list[Path], ask: Any, knowledge: Any) -> dict[str, Any]:
    """Return counts, differences, and unknown nodes of templates that were not compared."""
    from zimage_comfyui.tests.browser.conversion import compared, foreign
    from zimage_comfyui.tests.fakes.workflows import check

    different: dict[str, list[str]] = {}
    skipped: dict[str, list[str]] = {}
    page_seconds = our_seconds = 0.0
    for number, path in enumerate(paths, 1):
        graph = json.loads(path.read_bytes())
        began = time.perf_counter()
        page = ask(graph)
        page_seconds += time.perf_counter() - began
        began = time.perf_counter()
        check(graph, knowledge)
        our_seconds += time.perf_counter() - began
        if unknown := foreign(graph, page, knowledge):
            skipped[path.stem] = unknown
        elif differences := compared(graph, page, knowledge):
            different[path.stem] = differences
        if number % 20 == 0:
            _common.say(f"{name}: {number} of {len(paths)}")
    count = len(paths) - len(skipped)
    return {
        "templates": len(paths),
        "compared": count,
        "equal": count - len(different),
        "different": different,
        "skipped": skipped,
        "page_seconds": round(page_seconds, 1),
        "our_seconds": round(our_seconds, 3),
    }


def _table(sets: dict[str, Any]) -> str:
    lines = [f"{'set':9} {'templates':>9} {'compared':>8} {'equal':>6} {'page s':>7} {'ours s':>7}"]
    for name, result in sets.items():
        lines.append(
            f"{name:9} {result['templates']:9} {result['compared']:8} {result['equal']:6} "
            f"{result['page_seconds']:7.1f} {result['our_seconds']:7.2f}"
        )
        lines += [f"  different: {key}: {text}" for key, text in result["different"].items()]
        lines += [f"  unknown nodes: {key}: {kinds}" for key, kinds in result["skipped"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Shared by all benchmarks: pack and host, description of the machine, results."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ALIAS = "zimage_comfyui"
MIB = 2**20


def pack_dir() -> Path:
    """Return the pack's folder, from ``$ZIMAGE_PACK_DIR`` or the location of this file."""
    return Path(os.environ.get("ZIMAGE_PACK_DIR") or Path(__file__).resolve().parent.parent)


def load_pack() -> None:
    """Make the pack importable with its alias, as the command line does."""
    if ALIAS in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        ALIAS, pack_dir() / "__init__.py", submodule_search_locations=[str(pack_dir())]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[ALIAS] = package
    spec.loader.exec_module(package)


def the_host() -> Any:
    """Return the ComfyUI of ``$ZIMAGE_COMFYUI_DIR``, to run with this Python."""
    from zimage_comfyui.cli.host import Host

    folder = os.environ.get("ZIMAGE_COMFYUI_DIR")
    if not folder:
        sys.exit("ZIMAGE_COMFYUI_DIR is not set; run this as ./zimage bench NAME")
    return Host(Path(folder), Path(sys.executable), "embedded")


def parser(description: str, repeats: int) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--save", action="store_true", help="also write it to benchmarks/results/")
    parser.add_argument(
        "--repeats", type=int, default=repeats, help="measured runs of each contender"
    )
    parser.add_argument("--note", default="", help="note for the result, e.g. other load")
    return parser


def machine() -> dict[str, Any]:
    """Return processor, memory, system and versions; nothing that identifies this machine."""
    from importlib.metadata import version

    from zimage_comfyui.cli import device

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "ram_gib": round(pages / 2**30),
        "os": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "gpus": _gpus() if device.cuda()[0] else [],
        "python": platform.python_version(),
        "torch": version("torch"),
        "diffusers": version("diffusers"),
        "load_average": os.getloadavg()[0],
    }


def commit() -> str:
    """Return the commit, with ``+`` for a changed tree; ``unknown`` outside git."""
    git = ["git", "-C", str(pack_dir())]
    try:
        head = _output([*git, "rev-parse", "--short", "HEAD"])
        return head + ("+" if _output([*git, "status", "--porcelain", "-uno"]) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return median, minimum, maximum and all values."""
    rounded = [round(value, 4) for value in values]
    return {
        "median": round(statistics.median(values), 4),
        "min": min(rounded),
        "max": max(rounded),
        "values": rounded,
    }


def finish(name: str, options: argparse.Namespace, figures: dict[str, Any], table: str) -> int:
    """Print a result, and store it with ``--save``; return the exit code."""
    document = {
        "benchmark": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "commit": commit(),
        "host": the_host().version,
        "machine": machine(),
        "note": options.note,
        **figures,
    }
    text = json.dumps(document, ensure_ascii=False, indent=2)
    if options.save:
        path = result_path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    print(text if options.json else table)
    return 0


def result_path(name: str) -> Path:
    """Return the file of a benchmark's result for this kind of machine."""
    kind = "cuda" if machine()["gpus"] else "cpu"
    return pack_dir() / "benchmarks" / "results" / f"{name}-{kind}.json"


def say(text: str) -> None:
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def peak_rss(pid: int) -> int:
    """Return the peak of a process's resident memory in bytes since :func:`reset_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc")


def reset_peak(pid: int) -> None:
    """Reset the peak of a process's resident memory to its current value."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return _output(query).splitlines()
    except (OSError, subprocess.CalledProcessError):
        return ["unknown"]


def _output(command: list[str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()

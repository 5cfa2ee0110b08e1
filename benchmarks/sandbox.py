"""Sandbox: what a pack in a process of its own costs: ours, pyisolate, comfy-env, and a plain call.

Ours is measured confined, the others as they come: pyisolate's bubblewrap is off, comfy-env has
nothing of the kind. All are asked in turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import _common
import _sandbox_install

MIB = 2**20
ROWS: dict[str, tuple[str, float, str, float | None, int, int]] = {
    "echo": ("call with an integer", 1e3, "ms", 0.20, 1000, 3),
    "reused": ("192 MiB in, the same again", 1e3, "ms", 0.6, 9, 3),
    "fresh48": ("48 MiB in and out", 1e3, "ms", 60, 5, 3),
    "kept48": ("48 MiB, results kept", 1e3, "ms", None, 5, 1),
    "fresh192": ("192 MiB in and out", 1e3, "ms", 250, 3, 2),
    "ask": ("pack asks the host", 1e3, "ms", None, 3, 2),
    "serve": ("host calls back", 1e3, "ms", None, 3, 2),
    "start": ("child until it has answered", 1, "s", 1.0, 1, 3),
    "view": ("first child in bubblewrap", 1, "s", None, 1, 3),
    "view_again": ("the next in bubblewrap", 1, "s", None, 1, 3),
    "memory": ("memory of its own, idle", 1 / MIB, "MiB", 60, 1, 1),
    "die": ("SIGSEGV until the error", 1e3, "ms", 20, 1, 3),
}
"""What is asked: for the table, factor and unit, goal in that unit, times a round, rounds."""
CONTENDERS = ("ours", "pyisolate", "comfyenv", "inside")


def main(argv: list[str]) -> int:
    """Measure all that there are; exit code 0 when ours answered everything."""
    parser = _common.parser(__doc__ or "", repeats=1)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    options = parser.parse_args(argv)
    _common.load_pack()
    absent: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        running = _start(options.only, Path(folder), absent)
        try:
            values = _rounds(running, options.repeats)
        finally:
            for one in running.values():
                one.stop()
    figures = _figures(running, values, absent)
    return _common.finish("sandbox", options, figures, _table(figures))


class Contender:
    """A host process that is asked over pipes.

    Attributes:
        about: what it said when its first child had answered.
    """

    def __init__(self, name: str, python: str, folder: Path) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        path = str(Path(__file__).with_name(f"_sandbox_{name}.py"))
        _common.the_host()
        env = _sandbox_install.environment()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [python, path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                text=True,
            )
        self.about: dict[str, Any] = self.ask("begin", 0)

    def ask(self, name: str, count: int) -> Any:
        """One measurement.

        Raises:
            OSError: the process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps([name, count]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self.log.read_text().strip().splitlines()[-1:]
            raise OSError(f"{self.name} has ended: {' '.join(said)[:300]}")
        return json.loads(line)

    def stop(self) -> None:
        """End it and its child."""
        try:
            self.ask("stop", 0)
            self.process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()


def _start(names: list[str], folder: Path, absent: dict[str, str]) -> dict[str, Contender]:
    from zimage_comfyui.config import Settings

    theirs, running = "", {}
    for name in names:
        try:
            if name in {"pyisolate", "comfyenv"}:
                theirs = theirs or str(_sandbox_install.python(Settings.from_environment().home))
            _common.say(f"starting {name}")
            own = theirs if name in {"pyisolate", "comfyenv"} else sys.executable
            running[name] = Contender(name, own, folder)
        except OSError as error:
            absent[name] = str(error)
            _common.say(f"{name}: {error}")
    return running


def _rounds(running: dict[str, Contender], repeats: int) -> dict[str, dict[str, Any]]:
    """Values in seconds or bytes of each measurement, or why there are none."""
    values: dict[str, dict[str, Any]] = {}
    for key, (_, factor, unit, _, count, rounds) in ROWS.items():
        row = values[key] = {}
        for turn in range(rounds * repeats):
            names = list(running)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                found = _asked(running[name], key, count)
                if isinstance(found, str):
                    row[name] = found
                elif not isinstance(row.get(name), str):
                    row.setdefault(name, []).extend(found)
        shown = {
            name: one if isinstance(one, str) else f"{statistics.median(one) * factor:.3g} {unit}"
            for name, one in row.items()
        }
        _common.say(f"{key}: {shown}")
    return values


def _asked(contender: Contender, key: str, count: int) -> list[float] | str:
    try:
        found = contender.ask(key, count)
    except OSError as error:
        return str(error)
    return found["unsupported"] if isinstance(found, dict) else found


def _figures(
    running: dict[str, Contender], values: dict[str, dict[str, Any]], absent: dict[str, str]
) -> dict[str, Any]:
    rows = {}
    for key, (text, factor, unit, goal, _, _) in ROWS.items():
        rows[key] = {"what": text, "unit": unit, "goal": goal}
        for name, found in values[key].items():
            if isinstance(found, str):
                rows[key][name] = found
                continue
            scaled = [round(one * factor, 4) for one in found]
            kept = scaled if len(scaled) <= 40 else []
            rows[key][name] = {
                "median": statistics.median(scaled),
                "min": min(scaled),
                "max": max(scaled),
                "count": len(scaled),
                "values": kept,
            }
    about = {name: one.about for name, one in running.items()}
    return {"rows": rows, "contenders": about, "absent": absent, "packages": _packages()}


def _packages() -> list[str]:
    return [one for one in _sandbox_install.PACKAGES if "==" in one]


def _table(figures: dict[str, Any]) -> str:
    """Medians, with the smallest value of each: what else runs only ever adds."""
    lines = [f"{'':30}{'goal':>9}" + "".join(f"{name:>22}" for name in CONTENDERS)]
    for row in figures["rows"].values():
        goal = "" if row["goal"] is None else f"{row['goal']:g} {row['unit']}"
        cells = "".join(f"{_cell(row, name):>22}" for name in CONTENDERS)
        lines.append(f"{row['what']:30}{goal:>9}{cells}")
    for name, why in figures["absent"].items():
        lines.append(f"{name}: {why}")
    if (about := figures["contenders"].get("ours")) is not None:
        lines.append(
            f"the template of ours: {about['template_seconds']:.1f} s once, "
            f"{about['template_private_bytes'] / MIB:.0f} MiB private"
        )
    return "\n".join(lines)


def _cell(row: dict[str, Any], name: str) -> str:
    found = row.get(name)
    if found is None or isinstance(found, str):
        return "-"
    return f"{found['median']:.3g} (min {found['min']:.3g})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

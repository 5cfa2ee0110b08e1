"""Sandbox: cost of a pack in its own process, for our sandbox, pyisolate, comfy-env and a call.

Only our sandbox is confined: pyisolate's bubblewrap is off, and comfy-env has no confinement. All
are measured in turns.
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
"""Measurements: text of the table, factor, unit, goal in this unit, calls a round, rounds."""
CONTENDERS = ("ours", "pyisolate", "comfyenv", "inside")


def main(argv: list[str]) -> int:
    """Measure all available contenders; return exit code 0."""
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
            for contender in running.values():
                contender.stop()
    figures = _figures(running, values, absent)
    return _common.finish("sandbox", options, figures, _table(figures))


class Contender:
    """A host process that is controlled through pipes.

    Attributes:
        details: its response after the first start of its child.
    """

    def __init__(self, name: str, python: str, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
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
        self.details: dict[str, Any] = self.ask("begin", 0)

    def ask(self, name: str, count: int) -> Any:
        """Return the result of a measurement.

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
            last_line = self.log.read_text().strip().splitlines()[-1:]
            raise OSError(f"{self.name} has ended: {' '.join(last_line)[:300]}")
        return json.loads(line)

    def stop(self) -> None:
        """Stop the process and its child."""
        try:
            self.ask("stop", 0)
            self.process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()


def _start(names: list[str], folder: Path, absent: dict[str, str]) -> dict[str, Contender]:
    from zimage_comfyui.config import Settings

    other_python, running = "", {}
    for name in names:
        try:
            if name in {"pyisolate", "comfyenv"}:
                other_python = other_python or str(
                    _sandbox_install.python(Settings.from_environment().home)
                )
            _common.say(f"starting {name}")
            interpreter = other_python if name in {"pyisolate", "comfyenv"} else sys.executable
            running[name] = Contender(name, interpreter, folder)
        except OSError as error:
            absent[name] = str(error)
            _common.say(f"{name}: {error}")
    return running


def _rounds(running: dict[str, Contender], repeats: int) -> dict[str, dict[str, Any]]:
    """Return the values of each measurement in seconds or bytes, or a reason for no values."""
    values: dict[str, dict[str, Any]] = {}
    for key, (_, factor, unit, _, count, rounds) in ROWS.items():
        row = values[key] = {}
        for turn in range(rounds * repeats):
            names = list(running)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                result = _asked(running[name], key, count)
                if isinstance(result, str):
                    row[name] = result
                elif not isinstance(row.get(name), str):
                    row.setdefault(name, []).extend(result)
        shown = {
            name: outcome
            if isinstance(outcome, str)
            else f"{statistics.median(outcome) * factor:.3g} {unit}"
            for name, outcome in row.items()
        }
        _common.say(f"{key}: {shown}")
    return values


def _asked(contender: Contender, key: str, count: int) -> list[float] | str:
    try:
        result = contender.ask(key, count)
    except OSError as error:
        return str(error)
    return result["unsupported"] if isinstance(result, dict) else result


def _figures(
    running: dict[str, Contender], values: dict[str, dict[str, Any]], absent: dict[str, str]
) -> dict[str, Any]:
    rows = {}
    for key, (text, factor, unit, goal, _, _) in ROWS.items():
        rows[key] = {"what": text, "unit": unit, "goal": goal}
        for name, outcome in values[key].items():
            if isinstance(outcome, str):
                rows[key][name] = outcome
                continue
            scaled = [round(item * factor, 4) for item in outcome]
            stored = scaled if len(scaled) <= 40 else []
            rows[key][name] = {
                "median": statistics.median(scaled),
                "min": min(scaled),
                "max": max(scaled),
                "count": len(scaled),
                "values": stored,
            }
    details = {name: item.details for name, item in running.items()}
    return {"rows": rows, "contenders": details, "absent": absent, "packages": _packages()}


def _packages() -> list[str]:
    return [package for package in _sandbox_install.PACKAGES if "==" in package]


def _table(figures: dict[str, Any]) -> str:
    """Return the table: medians with minimum values, which other load affects least."""
    lines = [f"{'':30}{'goal':>9}" + "".join(f"{name:>22}" for name in CONTENDERS)]
    for row in figures["rows"].values():
        goal = "" if row["goal"] is None else f"{row['goal']:g} {row['unit']}"
        cells = "".join(f"{_cell(row, name):>22}" for name in CONTENDERS)
        lines.append(f"{row['what']:30}{goal:>9}{cells}")
    for name, why in figures["absent"].items():
        lines.append(f"{name}: {why}")
    if (details := figures["contenders"].get("ours")) is not None:
        lines.append(
            f"the template of ours: {details['template_seconds']:.1f} s once, "
            f"{details['template_private_bytes'] / MIB:.0f} MiB private"
        )
    return "\n".join(lines)


def _cell(row: dict[str, Any], name: str) -> str:
    outcome = row.get(name)
    if outcome is None or isinstance(outcome, str):
        return "-"
    return f"{outcome['median']:.3g} (min {outcome['min']:.3g})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Hostile: what stops each attempt of the pack in ``tests/`` that tries everything.

Runs that test; each attempt is one prompt of a real ComfyUI with the pack in a sandbox, and once
more in bubblewrap, where that can be used.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import _common

TEST = "tests/integration/test_hostile_pack.py"


def main(argv: list[str]) -> int:
    """Do it; exit code 0 when no attempt succeeded."""
    options = _common.parser(__doc__ or "", repeats=1).parse_args(argv)
    _common.load_pack()
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        table = Path(folder) / "table.tsv"
        command = [str(_common.pack_dir() / "zimage"), "test", TEST, "-q"]
        env = {**os.environ, "ZIMAGE_HOSTILE_TABLE": str(table)}
        code = subprocess.run(command, env=env, stdout=sys.stderr, check=False).returncode
        lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    found: dict[str, dict[str, str]] = {"stopped": {}, "stopped_in_bubblewrap": {}}
    for where, name, stopped in sorted(line.split("\t") for line in lines):
        found[where][name] = stopped
    bare, view = found.values()
    text = "\n".join(f"{name:28} {bare[name]:28} {view.get(name, '')}" for name in bare)
    return _common.finish("hostile", options, {**found, "exit": code}, text) or code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

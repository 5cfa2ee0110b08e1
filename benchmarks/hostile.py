"""Hostile: the outcome of each attempt of a malicious pack in a sandbox.

It runs the integration test with this pack. Each attempt is a prompt of a real ComfyUI, in a
sandbox and, where available, also in a sandbox with bubblewrap.
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
    """Run the test; return exit code 0 if no attempt succeeded."""
    options = _common.parser(__doc__ or "", repeats=1).parse_args(argv)
    _common.load_pack()
    with tempfile.TemporaryDirectory(prefix="zimage-bench-") as folder:
        table = Path(folder) / "table.tsv"
        command = [str(_common.pack_dir() / "zimage"), "test", TEST, "-q"]
        env = {**os.environ, "ZIMAGE_HOSTILE_TABLE": str(table)}
        code = subprocess.run(command, env=env, stdout=sys.stderr, check=False).returncode
        lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    outcomes: dict[str, dict[str, str]] = {"stopped": {}, "stopped_in_bubblewrap": {}}
    for where, name, stopped in sorted(line.split("\t") for line in lines):
        outcomes[where][name] = stopped
    bare, view = outcomes.values()
    text = "\n".join(f"{name:28} {bare[name]:28} {view.get(name, '')}" for name in bare)
    return _common.finish("hostile", options, {**outcomes, "exit": code}, text) or code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

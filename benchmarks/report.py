"""Report: write docs/results.md, its translation and plots from the stored results.

Nothing is measured. A test compares both pages with the output; run it after ``--save``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _plots
import _report
import _report_models as models
import _report_sandbox as packs
import _report_server as server
import _report_trials as trials
import _report_validator as validator

SECTIONS: list[tuple[str, Callable[[dict[str, Any]], _report.Section]]] = [
    ("adherence", models.adherence),
    ("dual", models.dual),
    ("edit", models.edit),
    ("parity", models.parity),
    ("conversion", validator.conversion),
    ("validator", validator.agreement),
    ("validator", validator.breaks),
    ("turbo", models.turbo),
    ("startup", server.startup),
    ("overhead", server.overhead),
    ("submissions", server.submissions),
    ("recovery", server.recovery),
    ("drill", trials.drill),
    ("drill-all", trials.drill),
    ("soak", trials.soak),
    ("sandbox", packs.sandbox),
    ("faults", packs.faults),
    ("hostile", packs.hostile),
    ("packs", packs.packs),
]
HEADS = {
    "en": """# Results

[中文](results.zh-CN.md)

All figures are from stored runs in [`benchmarks/results/`](../benchmarks/results);
[METHOD.md](../benchmarks/METHOD.md) describes how they are measured. Compare ratios between
machines, not seconds. A goal that was not reached is marked **not met**.
`./zimage bench report` generates this page.
""",
    "zh": """# 实测结果

[English](results.md)

所有数据都来自 [`benchmarks/results/`](../benchmarks/results) 中保存的运行结果；测量方法见
[METHOD.md](../benchmarks/METHOD.md)（英文）。不同机器之间请比较比值，不要比较秒数。未达到的目标标为**未达到**。
本页由 `./zimage bench report` 生成。
""",
}
NAMES = {"en": "results.md", "zh": "results.zh-CN.md"}


def pages(pack: Path) -> dict[str, str]:
    """Return the text of each page by its file name."""
    folder = pack / "benchmarks" / "results"
    runs = {name: _stored(folder, name) for name, _ in SECTIONS}
    texts = {}
    for language, head in HEADS.items():
        parts = [
            _report.render(make(run), run, language)
            for name, make in SECTIONS
            if (run := runs[name]) is not None
        ]
        texts[NAMES[language]] = "\n".join([head, *parts])
    return texts


def _stored(folder: Path, name: str) -> dict[str, Any] | None:
    if name in {"drill", "drill-all"}:
        path = folder / f"{name}-cpu.txt"
        return trials.read_drill(path) if path.exists() else None
    run = _report.read(folder, name)
    return None if run is None else {**run, "file": f"{name}-cpu.json"}


def main(argv: list[str]) -> int:
    """Write both pages; exit code 0."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--json", action="store_true", help="accepted, and changes nothing")
    options.parse_args(argv)
    root = Path(__file__).resolve().parent.parent
    pack = Path(os.environ.get("ZIMAGE_PACK_DIR") or root)
    for name, text in pages(pack).items():
        (pack / "docs" / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}")
    folder = pack / "benchmarks" / "results"
    for name, rows in (("overhead", server.overhead_rows), ("recovery", server.recovery_rows)):
        if (run := _stored(folder, name)) is not None:
            _plots.strips(rows(run), folder / f"{name}.png")
            print(f"benchmarks/results/{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

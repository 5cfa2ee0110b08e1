"""``drill``: faults against a server under load, and a check of its invariants."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from ..config import PACK_DIR, Settings
from ..drill.faults import FAULTS
from ..drill.run import DrillReport
from ..drill.run import run as drill
from ..drill.stage import IMPATIENT, Stage
from ..errors.bilingual import Bilingual
from .host import discover
from .terminal import DONE, FAILED, USAGE, Stop, document, result, say


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run the drill and print a table; ``FAILED`` if an invariant was broken."""
    if options.list:
        for name, fault in FAULTS.items():
            result(f"{name:34} {(fault.__doc__ or '').strip()}")
        return DONE
    names = options.only or list(FAULTS)
    if unknown := [name for name in names if name not in FAULTS]:
        raise Stop(USAGE, "ZI-DRILL-UNKNOWN", found=unknown[0], expected=", ".join(FAULTS))
    seed = options.seed if options.seed is not None else random.randrange(10**6)  # noqa: S311
    rounds = options.rounds or len(names)
    say(
        Bilingual(
            f"演练：{len(names)} 种故障，{rounds} 轮，种子 {seed}",
            f"drill: {len(names)} faults, {rounds} rounds, seed {seed}",
        )
    )
    host = discover(settings, PACK_DIR, options.comfyui)
    folder = Path(tempfile.mkdtemp(prefix="zimage-drill-"))
    stage = Stage(host, folder, "--standby", "on", env=IMPATIENT)
    stage.add_sandboxed_pack()
    passed = False
    try:
        stage.start()
        report = drill(stage, names, rounds, seed, _progress)
        passed = report.ok
    finally:
        stage.stop()
        if passed:
            shutil.rmtree(folder)
        else:
            say(Bilingual(f"日志和状态保留在 {folder}", f"logs and state are kept in {folder}"))
    if options.json:
        document({"seed": seed, **report.document()})
    else:
        _show(report)
    return DONE if report.ok else FAILED


def _progress(line: str) -> None:
    sys.stderr.write(line + "\n")


def _show(report: DrillReport) -> None:
    faults = report.document()["faults"]
    broken = dict(report.broken)
    result(f"{'fault':34} {'rounds':>6} {'median s':>9}")
    for name, fault in sorted(faults.items()):
        skipped = report.skipped.get(name)
        state = broken.get(name, f"跳过 / skipped: {skipped}" if skipped else "ok")
        result(f"{name:34} {fault['rounds']:6} {fault['median_seconds']:9.1f}  {state}")
    result("")
    doubled, lost = len(report.doubled), len(report.lost)
    result(f"已接受 / accepted {report.accepted}，重复 / doubled {doubled}，丢失 / lost {lost}")
    refused, cut_off = len(report.refused), report.disconnected
    result(f"连接被拒绝 / refused {refused}，响应前断开 / cut off {cut_off}")
    result(f"服务器进程 / servers {report.servers}，图片字节一致 / same bytes {report.same_bytes}")
    result("通过 / passed" if report.ok else "失败 / FAILED")

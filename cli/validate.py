"""``validate`` checks workflows without running them; ``to-api`` converts one as the page does."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ..config import PACK_DIR, Settings
from .client import Client
from .terminal import DONE, FAILED, USAGE, Stop, document, result, say


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Checks every file; 1 when one of them has an error."""
    from ..validator.check import check_bytes

    knowledge = _knowledge(options.object_info)
    files = [Path(name) for name in options.files] or bundled(PACK_DIR)
    reports = []
    for file in files:
        checked = check_bytes(_read(file), knowledge)
        reports.append({"file": str(file), "ok": checked.ok,
                        "findings": [asdict(finding) for finding in checked.findings]})  # fmt: skip
    if options.json:
        document({"ok": all(report["ok"] for report in reports), "files": reports})
    else:
        for report in reports:
            _show(report)
        if options.object_info is None:
            say(
                "模型和图片是否存在没有检查；用 --object-info 服务器地址 可一并检查",
                "whether models and pictures exist was not checked; --object-info URL does",
            )
    return DONE if all(report["ok"] for report in reports) else FAILED


def to_api(options: argparse.Namespace, settings: Settings) -> int:
    """Prints API JSON; errors are told on standard error, and 1 is returned for them."""
    from ..validator.check import check_bytes

    checked = check_bytes(_read(Path(options.file)), _knowledge(options.object_info))
    shown = {"file": options.file, "findings": [asdict(f) for f in checked.findings.errors]}
    if shown["findings"]:
        sys.stderr.write("\n".join(_lines(shown)) + "\n")
    if checked.prompt is None:
        return FAILED
    document(checked.prompt)
    return FAILED if shown["findings"] else DONE


def bundled(pack: Path) -> list[Path]:
    """The workflows that come with the pack, as the page has them."""
    return sorted((pack / "workflows").glob("*.json"))


def _knowledge(source: str | None):
    """Node classes from a file, a running server's address, or the stored ones."""
    from ..validator import snapshot
    from ..validator.check import load_knowledge
    from ..validator.knowledge import Knowledge

    if source is None:
        return snapshot.load()
    try:
        if source.startswith(("http://", "https://")):
            return Knowledge(
                Client(source.rstrip("/").removesuffix("/object_info")).get("/object_info")
            )
        return load_knowledge(Path(source))
    except (OSError, ValueError, HTTPException) as error:
        raise Stop(USAGE, "ZI-OBJECT-INFO", path=source, found=error) from error


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Stop(USAGE, "ZI-FILE-MISSING", path=file, folder=file.parent) from error


def _show(report: dict[str, Any]) -> None:
    for line in _lines(report):
        result(line)
    errors = sum(finding["severity"] == "error" for finding in report["findings"])
    warnings = len(report["findings"]) - errors
    state = "通过 ok" if report["ok"] else "失败 FAILED"
    result(f"{state}  {report['file']}（{errors} 个错误 errors，{warnings} 个警告 warnings）")


def _lines(report: dict[str, Any]) -> list[str]:
    """Findings as a compiler tells them: what, where, what to do."""
    lines = []
    for finding in report["findings"]:
        place = [report["file"]]
        if finding["node"]:
            place.append(
                f"节点 node {finding['node']} {json.dumps(finding['title'], ensure_ascii=False)}"
            )
        if finding["input"]:
            place.append(finding["input"])
        lines += [
            f"{finding['severity']}[{finding['code']}]: {finding['chinese']}",
            f"  --> {' · '.join(place)}",
            f"  = {finding['english']}",
            "",
        ]
    return lines

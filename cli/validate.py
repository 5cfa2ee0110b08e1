"""``validate`` checks workflows without running them; ``to-api`` converts one as the page does."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import PACK_DIR, Settings
from ..errors import ZImageError
from .client import Client, with_scheme
from .report import Paint, painter, tell
from .terminal import DONE, FAILED, USAGE, Stop, document, result, say

if TYPE_CHECKING:
    from ..validator.check import Result
    from ..validator.findings import Finding
    from ..validator.knowledge import Knowledge

UNREAD = frozenset({"ZI-FILE-MISSING", "ZI-WF-UNREADABLE"})
"""What is wrong with the command line, not with a workflow."""
LACKING = frozenset({"ZI-WF-MODEL", "ZI-WF-FILE"})
"""What a machine lacks to run a workflow; it can be converted all the same."""


@dataclass(frozen=True)
class Checked:
    """A file, its bytes, and what came of it; the findings have their places."""

    file: str
    data: bytes
    result: Result
    findings: list[Finding]

    @property
    def unread(self) -> bool:
        """True when it could not be read at all."""
        return any(finding.code in UNREAD for finding in self.findings)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Checks every file; 2 when one cannot be read, else 1 when one of them has an error."""
    knowledge = _knowledge(options.object_info)
    files = [Path(name) for name in options.files] or bundled(PACK_DIR)
    reports, unread, ok = [], False, True
    for file in files:
        checked = _check(file, knowledge, core_only=options.core_only)
        unread, ok = unread or checked.unread, ok and checked.result.ok
        if options.json:
            findings = [asdict(finding) for finding in checked.findings]
            reports.append({"file": str(file), "ok": checked.result.ok, "findings": findings})
        elif not checked.unread:
            _show(checked, painter(sys.stdout, settings))
        if checked.unread:
            _say_unread(checked)
    if options.json:
        document({"ok": ok, "files": reports})
    elif options.object_info is None:
        say(
            "按 ComfyUI 和本插件自带的节点检查；"
            "其他节点包、模型和图片要用 --object-info 服务器地址 检查",
            "checked against the nodes of ComfyUI and of this pack; --object-info URL asks a "
            "server, with its other packs, models and pictures",
        )
    if unread:
        return USAGE
    return DONE if ok else FAILED


def to_api(options: argparse.Namespace, settings: Settings) -> int:
    """Prints API JSON if all of the workflow became part of it; findings go to standard error.

    Returns:
        1 with nothing printed for a workflow that has errors, 2 for a file that cannot be read. A
        model or picture that the machine lacks is told, but is no error here.
    """
    checked = _check(Path(options.file), _knowledge(options.object_info))
    if checked.unread:
        _say_unread(checked)
        return USAGE
    errors = [finding for finding in checked.findings if finding.severity == "error"]
    for line in tell(checked.file, checked.data, errors, painter(sys.stderr, settings)):
        sys.stderr.write(f"{line}\n")
    if checked.result.prompt is None or any(error.code not in LACKING for error in errors):
        say("没有输出 JSON：请先改正上面的错误", "no JSON was printed: mend these errors first")
        return FAILED
    document(checked.result.prompt)
    return DONE


def _say_unread(checked: Checked) -> None:
    for finding in checked.findings:
        say(f"[{finding.code}] {finding.chinese}", finding.english)


def _check(file: Path, knowledge: Knowledge, *, core_only: bool = False) -> Checked:
    """The findings of a file; that it cannot be read is one."""
    from ..engine import presets, saving, sizes
    from ..validator.check import Result, check_bytes
    from ..validator.findings import Findings
    from ..validator.our_nodes import Engine
    from ..validator.source_locations import locate

    engine = Engine(
        presets.resolve, sizes.resolve, sizes.check_batch, saving.check_quality,
        saving.check_prefix, presets.check_tolerance,
    )  # fmt: skip
    try:
        data = _read(file)
    except ZImageError as error:
        found = Findings()
        found.refuse(error)
        return Checked(str(file), b"", Result(found, None), found)
    result = check_bytes(data, knowledge, core_only=core_only, engine=engine)
    return Checked(str(file), data, result, locate(data, result.findings, knowledge))


def bundled(pack: Path) -> list[Path]:
    """The workflows that come with the pack, as the page has them."""
    return sorted((pack / "workflows").glob("*.json"))


def _knowledge(source: str | None) -> Knowledge:
    """Node classes from a file, a running server's address, or the stored ones."""
    from ..validator import snapshot
    from ..validator.check import as_knowledge, load_knowledge

    if source is None:
        return snapshot.load()
    if not Path(source).exists():
        source = with_scheme(source)
    try:
        if source.startswith(("http://", "https://")):
            address = source.rstrip("/").removesuffix("/object_info")
            return as_knowledge(Client(address).get("/object_info"))
        return load_knowledge(Path(source))
    except OSError as error:
        raise Stop(USAGE, "ZI-OBJECT-INFO", path=source, found=error.strerror or error) from error
    except json.JSONDecodeError as error:
        found = "不是 JSON / this is no JSON"
        raise Stop(USAGE, "ZI-OBJECT-INFO", path=source, found=found) from error
    except (ValueError, HTTPException) as error:
        raise Stop(USAGE, "ZI-OBJECT-INFO", path=source, found=error) from error


def _read(file: Path) -> bytes:
    """The bytes of a file, or of standard input; never many more than are looked at.

    Raises:
        ZImageError: ``ZI-FILE-MISSING``, ``ZI-WF-UNREADABLE`` or ``ZI-WF-LARGE``.
    """
    from ..validator.reading import LARGEST_FILE, TOO_LARGE

    if str(file) == "-":
        return sys.stdin.buffer.read(LARGEST_FILE + 1)
    try:
        with file.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > LARGEST_FILE:
                raise ZImageError("ZI-WF-LARGE", zh=TOO_LARGE, en=TOO_LARGE)
            return stream.read(LARGEST_FILE + 1)
    except FileNotFoundError as error:
        raise ZImageError(
            "ZI-FILE-MISSING", path=str(file), folder=str(file.absolute().parent)
        ) from error
    except IsADirectoryError as error:
        zh, en = "这是文件夹，请给出其中的工作流文件", "it is a folder; name the files in it"
        raise ZImageError("ZI-WF-UNREADABLE", path=str(file), zh=zh, en=en) from error
    except PermissionError as error:
        zh, en = "没有读取权限，请改正它的权限", "you may not read it; mend its permissions"
        raise ZImageError("ZI-WF-UNREADABLE", path=str(file), zh=zh, en=en) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ZImageError("ZI-WF-UNREADABLE", path=str(file), zh=f"系统报告 {reason}",
                          en=reason) from error  # fmt: skip


def _show(checked: Checked, paint: Paint) -> None:
    for line in tell(checked.file, checked.data, checked.findings, paint):
        result(line)
    errors = sum(finding.severity == "error" for finding in checked.findings)
    warnings = len(checked.findings) - errors
    ok = checked.result.ok
    state = paint("help", "通过 ok") if ok else paint("error", "失败 FAILED")
    result(f"{state}  {checked.file}（{errors} 个错误 errors，{warnings} 个警告 warnings）")

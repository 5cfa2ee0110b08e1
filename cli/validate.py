"""The commands ``validate``, which checks workflows, and ``to-api``, which converts one."""

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
from ..errors import ZImageError, system
from ..errors.bilingual import Bilingual
from .client import Client, with_scheme
from .report import format_findings, painter
from .terminal import DONE, FAILED, USAGE, Stop, document, result, say

if TYPE_CHECKING:
    from ..validator.check import Result
    from ..validator.findings import Finding
    from ..validator.knowledge import Knowledge

UNREADABLE = frozenset({"ZI-FILE-MISSING", "ZI-WF-UNREADABLE"})
"""Faults of the command line, not of a workflow."""
MISSING_FILES = frozenset({"ZI-WF-MODEL", "ZI-WF-FILE"})
"""Files that this machine does not have. The workflow can still be converted."""


@dataclass(frozen=True)
class CheckedFile:
    """A file and the result of its check.

    Attributes:
        file: The path as given.
        data: The bytes.
        result: The result of the check.
        findings: The findings with their locations in the file.
    """

    file: str
    data: bytes
    result: Result
    findings: list[Finding]

    @property
    def unreadable(self) -> bool:
        """Whether the file could not be read."""
        return any(finding.code in UNREADABLE for finding in self.findings)


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Check every file.

    Returns:
        2 if a file cannot be read, else 1 if a file has an error, else 0.
    """
    knowledge = _knowledge(options.object_info)
    files = [Path(name) for name in options.files] or bundled(PACK_DIR)
    checked_files: list[CheckedFile] = []
    for file in files:
        checked = _check_file(file, knowledge, core_only=options.core_only)
        checked_files.append(checked)
        if checked.unreadable:
            _say_unreadable(checked)
        elif not options.json:
            _show(checked, settings)
    ok = all(checked.result.ok for checked in checked_files)
    if options.json:
        document({"ok": ok, "files": [_as_json(checked) for checked in checked_files]})
    elif options.object_info is None:
        say(
            Bilingual(
                "检查依据是 ComfyUI 和本节点包自带的节点；"
                "要包括其他节点包、模型和图片，请使用 --object-info 服务器地址",
                "checked against the nodes of ComfyUI and of this pack; to include other packs, "
                "models and pictures, use --object-info URL of a server",
            )
        )
    if any(checked.unreadable for checked in checked_files):
        return USAGE
    return DONE if ok else FAILED


def to_api(options: argparse.Namespace, settings: Settings) -> int:
    """Print a workflow as API JSON if all of it can be converted. Findings go to standard error.

    A model or picture that the machine does not have is reported, but is not an error here.

    Returns:
        1 with nothing printed for a workflow that has errors, 2 for a file that cannot be read.
    """
    checked = _check_file(Path(options.file), _knowledge(options.object_info))
    if checked.unreadable:
        _say_unreadable(checked)
        return USAGE
    errors = [finding for finding in checked.findings if finding.severity == "error"]
    paint = painter(sys.stderr, settings)
    for line in format_findings(checked.file, checked.data, errors, paint):
        sys.stderr.write(f"{line}\n")
    has_faults = any(error.code not in MISSING_FILES for error in errors)
    if checked.result.prompt is None or has_faults:
        say(
            Bilingual(
                "没有输出 JSON：请先改正上面的错误",
                "no JSON was printed: fix these errors first",
            )
        )
        return FAILED
    document(checked.result.prompt)
    return DONE


def _say_unreadable(checked: CheckedFile) -> None:
    for finding in checked.findings:
        say(Bilingual(f"[{finding.code}] {finding.chinese}", finding.english))


def _as_json(checked: CheckedFile) -> dict[str, object]:
    findings = [asdict(finding) for finding in checked.findings]
    return {"file": checked.file, "ok": checked.result.ok, "findings": findings}


def _check_file(file: Path, knowledge: Knowledge, *, core_only: bool = False) -> CheckedFile:
    """Return the findings of a file. If it cannot be read, one finding says so."""
    from ..engine import presets, saving, sizes
    from ..validator.check import Result, check_bytes
    from ..validator.findings import Findings
    from ..validator.our_nodes import EngineChecks
    from ..validator.source_locations import locate

    engine = EngineChecks(
        settings=presets.resolve,
        size=sizes.resolve,
        batch=sizes.check_batch,
        quality=saving.check_quality,
        prefix=saving.check_prefix,
        tolerance=presets.check_tolerance,
    )
    try:
        data = _read(file)
    except ZImageError as error:
        findings = Findings()
        findings.add_error(error)
        return CheckedFile(str(file), b"", Result(findings, None), findings)
    result = check_bytes(data, knowledge, core_only=core_only, engine=engine)
    return CheckedFile(str(file), data, result, locate(data, result.findings, knowledge))


def bundled(pack: Path) -> list[Path]:
    """Return the workflow templates of the pack."""
    return sorted((pack / "workflows").glob("*.json"))


def _knowledge(source: str | None) -> Knowledge:
    """Return the node classes in a file or of a running server. None means the stored ones."""
    from ..validator import snapshot
    from ..validator.check import ObjectInfoError, as_knowledge, load_knowledge

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
        raise Stop(USAGE, "ZI-OBJECT-INFO", path=source, found=system.reason(error)) from error
    except json.JSONDecodeError as error:
        reason = Bilingual("不是 JSON", "it is not JSON")
        raise Stop(USAGE, "ZI-OBJECT-INFO", path=source, found=reason) from error
    except ObjectInfoError as error:
        raise Stop(USAGE, "ZI-OBJECT-INFO", path=source, found=error.reason) from error
    except (ValueError, HTTPException) as error:
        raise Stop(USAGE, "ZI-OBJECT-INFO", path=source, found=error) from error


def _read(file: Path) -> bytes:
    """Return the bytes of a file or of standard input, at most one above the limit for files.

    Raises:
        ZImageError: ``ZI-FILE-MISSING``, ``ZI-WF-UNREADABLE`` or ``ZI-WF-LARGE``.
    """
    from ..validator.reading import LARGEST_FILE, TOO_LARGE

    if str(file) == "-":
        return sys.stdin.buffer.read(LARGEST_FILE + 1)
    try:
        with file.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > LARGEST_FILE:
                raise ZImageError("ZI-WF-LARGE", maximum=TOO_LARGE)
            return stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _read_error(file, error) from error


def _read_error(file: Path, error: OSError) -> ZImageError:
    if isinstance(error, FileNotFoundError):
        folder = str(file.absolute().parent)
        return ZImageError("ZI-FILE-MISSING", path=str(file), folder=folder)
    found = system.reason(error)
    if isinstance(error, IsADirectoryError):
        found = Bilingual(
            "这是文件夹，请指定其中的工作流文件", "it is a folder; give the files in it"
        )
    elif isinstance(error, PermissionError):
        found = Bilingual(
            "没有读取权限，请修改文件权限", "permission denied; make the file readable"
        )
    return ZImageError("ZI-WF-UNREADABLE", path=str(file), found=found)


def _show(checked: CheckedFile, settings: Settings) -> None:
    paint = painter(sys.stdout, settings)
    for line in format_findings(checked.file, checked.data, checked.findings, paint):
        result(line)
    errors = sum(finding.severity == "error" for finding in checked.findings)
    warnings = len(checked.findings) - errors
    ok = checked.result.ok
    state = paint("help", "通过 ok") if ok else paint("error", "失败 FAILED")
    result(f"{state}  {checked.file}（{errors} 个错误 errors，{warnings} 个警告 warnings）")

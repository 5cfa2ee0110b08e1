"""Reading of a file as JSON, with findings that say why that fails."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import Any

from ..errors.bilingual import Bilingual
from . import shape_findings
from .findings import LIMIT, Findings
from .json_values import JsonObject

LARGEST_FILE = 64 * 2**20
"""Maximum size of a workflow file in bytes."""
TOO_LARGE = f"{LARGEST_FILE // 2**20} MiB"
_PICTURE = re.compile(rb"\x89PNG|RIFF....WEBP|\xff\xd8\xff|GIF8", re.DOTALL)
"""How pictures begin. Users hand over pictures that hold their workflow."""
_EXPORT_AGAIN = Bilingual(
    "请用页面的“导出”重新保存工作流",
    "Save the workflow again with the page's Export",
)
_SAVE_AS_UTF8 = Bilingual("请另存为 UTF-8", "Save it as UTF-8")
_CHINESE_FAULTS = {
    "Expecting value": "应有一个值",
    "Expecting property name": "应有双引号括起的名称",
    "Illegal trailing comma": "多了一个逗号",
    "Expecting ':'": "应有冒号",
    "Expecting ','": "应有逗号或结尾的括号",
    "Unterminated string": "开始的字符串没有结束",
    "Invalid control character": "有一个不能直接写在字符串里的字符（如换行）",
    "Invalid \\": "的反斜杠用法有误",
    "Extra data": "起是多余的内容",
}
"""The beginning of a message of Python's parser, and its meaning in Chinese."""


def parse_json(data: bytes, findings: Findings) -> Any:
    """Return the JSON document in a file, or add a finding and return None."""
    if len(data) > LARGEST_FILE:
        findings.add("ZI-WF-LARGE", maximum=TOO_LARGE)
        return None
    if _PICTURE.match(data):
        findings.add("ZI-WF-PICTURE")
        return None
    repeated_keys: Counter[str] = Counter()

    def record_repeated_keys(pairs: list[tuple[str, Any]]) -> JsonObject:
        members = dict(pairs)
        if len(members) < len(pairs) and len(repeated_keys) <= LIMIT:
            counts = Counter(key for key, _ in pairs)
            repeated_keys.update(key for key, count in counts.items() if count > 1)
        return members

    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=record_repeated_keys)
    except (ValueError, RecursionError) as error:
        _add_unreadable(data, error, findings)
        return None
    for key in repeated_keys:
        findings.add("ZI-WF-KEY", severity="warning", value=key)
    if document is None:
        shape_findings.add_root(findings, None)
    return document


def _add_unreadable(data: bytes, error: Exception, findings: Findings) -> None:
    """Add a finding for a file that is not JSON, with the place where the fault is known."""
    utf16 = _is_utf16(data)
    found = _reason(data, error)
    help = _SAVE_AS_UTF8 if "UTF-" in found.english else _EXPORT_AGAIN
    findings.add("ZI-WF-JSON", found=found, help=help)
    if isinstance(error, json.JSONDecodeError) and data.strip() and not utf16:
        findings.locate_last(error.lineno, error.colno)
    elif isinstance(error, UnicodeDecodeError) and not utf16:
        start = data.rfind(b"\n", 0, error.start) + 1
        line = data.count(b"\n", 0, start) + 1
        column = len(data[start : error.start].decode("utf-8-sig")) + 1
        findings.locate_last(line, column)


def _reason(data: bytes, error: Exception) -> Bilingual:
    """Return why a file is not JSON."""
    if not data.strip():
        return Bilingual("文件是空的", "the file is empty")
    if _is_utf16(data):
        return Bilingual("它的编码是 UTF-16", "it is UTF-16")
    if isinstance(error, UnicodeDecodeError):
        return Bilingual(
            f"第 {error.start + 1} 个字节不是 UTF-8（可能是 GBK 等编码）",
            f"byte {error.start + 1} is not UTF-8 (it may be GBK or the like)",
        )
    if isinstance(error, json.JSONDecodeError):
        return Bilingual(
            f"第 {error.lineno} 行第 {error.colno} 列{_chinese_fault(error.msg)}",
            f"line {error.lineno}, column {error.colno}: {error.msg}",
        )
    if isinstance(error, RecursionError):
        return Bilingual("嵌套太深，正常的工作流不会这样", "it is nested deeper than any workflow")
    digits = sys.get_int_max_str_digits()
    return Bilingual(f"有一个数超过 {digits} 位", f"it holds a number of more than {digits} digits")


def _is_utf16(data: bytes) -> bool:
    return data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]


def _chinese_fault(message: str) -> str:
    for beginning, chinese in _CHINESE_FAULTS.items():
        if message.startswith(beginning):
            return chinese
    return "有误"

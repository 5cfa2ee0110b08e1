"""From bytes to a JSON document, or to findings that say in both languages why there is none."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import Any

from . import shapes
from .findings import LIMIT, Findings

LARGEST_FILE = 64 * 2**20
"""Bytes of a workflow file that are read at all."""
TOO_LARGE = f"{LARGEST_FILE // 2**20} MiB"
PICTURES = re.compile(rb"\x89PNG|RIFF....WEBP|\xff\xd8\xff|GIF8", re.DOTALL)
"""How pictures begin; people hand over those that hold their workflow."""


def parse_json(data: bytes, found: Findings) -> Any:
    """A JSON document, or None and a finding."""
    if len(data) > LARGEST_FILE:
        found.add("ZI-WF-LARGE", zh=TOO_LARGE, en=TOO_LARGE)
        return None
    if PICTURES.match(data):
        found.add("ZI-WF-PICTURE")
        return None
    twice: Counter[str] = Counter()

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs) and len(twice) <= LIMIT:
            keys = Counter(key for key, _ in pairs)
            twice.update(key for key, count in keys.items() if count > 1)
        return made

    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        tell(data, error, found)
        return None
    for key in twice:
        found.add("ZI-WF-KEY", severity="warning", value=key)
    if document is None:
        shapes.tell_root(found, None)
    return document


def tell(data: bytes, error: Exception, found: Findings) -> None:
    """A finding with the place, as far as there is one."""
    zh, en = _reason(data, error)
    zh_do, en_do = _EXPORT
    line = column = None
    if "UTF-8" in en or "UTF-16" in en:
        zh_do, en_do = "请另存为 UTF-8", "Save it as UTF-8"
    if isinstance(error, json.JSONDecodeError) and data.strip() and "UTF-16" not in en:
        line, column = error.lineno, error.colno
    elif isinstance(error, UnicodeDecodeError) and "UTF-16" not in en:
        start = data.rfind(b"\n", 0, error.start) + 1
        line = data.count(b"\n", 0, start) + 1
        column = len(data[start : error.start].decode("utf-8-sig")) + 1
    found.add("ZI-WF-JSON", zh=zh, en=en, zh_do=zh_do, en_do=en_do)
    found.place(line, column)


_EXPORT = "请用页面的“导出”重新保存工作流", "Save the workflow again with the page's Export"
_FAULTS = {
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
"""How Python's messages begin, and the same in Chinese."""


def _fault(message: str) -> str:
    return next((zh for en, zh in _FAULTS.items() if message.startswith(en)), "有误")


def _reason(data: bytes, error: Exception) -> tuple[str, str]:
    """Why bytes are no JSON, and what to do about it."""
    if not data.strip():
        return "文件是空的", "the file is empty"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:4]:
        return "它的编码是 UTF-16", "it is UTF-16"
    if isinstance(error, UnicodeDecodeError):
        return (
            f"第 {error.start + 1} 个字节不是 UTF-8（可能是 GBK 等编码）",
            f"byte {error.start + 1} is not UTF-8 (it may be GBK or the like)",
        )
    if isinstance(error, json.JSONDecodeError):
        return (
            f"第 {error.lineno} 行第 {error.colno} 列{_fault(error.msg)}",
            f"line {error.lineno}, column {error.colno}: {error.msg}",
        )
    if isinstance(error, RecursionError):
        return "嵌套太深，没有工作流会这样", "it is nested deeper than any workflow"
    digits = sys.get_int_max_str_digits()
    return f"有一个数超过 {digits} 位", f"it holds a number of more than {digits} digits"

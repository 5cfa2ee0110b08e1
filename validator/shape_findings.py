"""Findings about values of another JSON type than a workflow has in that place."""

from __future__ import annotations

import json
import reprlib

from .findings import BilingualText, Findings
from .json_values import is_list

ROOT: BilingualText = (
    "一个对象：页面保存的工作流（其中有 nodes），或以节点编号为键的 API 格式",
    "an object: a workflow that the page saved (with nodes in it), or API form with node ids as "
    "its keys",
)
NODE: BilingualText = (
    "含有 class_type 和 inputs 的对象",
    "an object with class_type and inputs",
)
PAGE_NODE: BilingualText = (
    "含有 id 和 type 的对象",
    "an object with id and type",
)
LINK: BilingualText = (
    "[编号, 起点, 输出序号, 终点, 输入序号, 类型]",
    "[id, from node, output, to node, input, type]",
)
STRING: BilingualText = "字符串", "a string"


def add_root(findings: Findings, value: object) -> None:
    """Add the finding that the top level of the file is not an object."""
    chinese, english = _describe(value)
    findings.add(
        "ZI-WF-SHAPE",
        zh=f"最外层是{chinese}，应为{ROOT[0]}",
        en=f"its top level is {english}, expected {ROOT[1]}",
    )
    findings.locate_last(1, 1)


def add(
    findings: Findings, path: str, value: object, expected: BilingualText, node: str = ""
) -> None:
    """Add the finding that the value at a path in the file is not as expected."""
    chinese, english = _describe(value)
    findings.add(
        "ZI-WF-SHAPE",
        node,
        zh=f"{path} 是{chinese}，应为{expected[0]}",
        en=f"{path} is {english}, expected {expected[1]}",
    )


def quoted(text: object) -> str:
    """Return a text as a JSON string, shortened."""
    return json.dumps(str(text)[:40], ensure_ascii=False)


def _describe(value: object) -> BilingualText:
    """Return a value with the name of its JSON type."""
    shown = quoted(value) if isinstance(value, str) else reprlib.repr(value)
    if isinstance(value, bool):
        return f"布尔值 {str(value).lower()}", str(value).lower()
    if value is None:
        return "空值 null", "null"
    if isinstance(value, (int, float)):
        return f"数字 {shown}", f"the number {shown}"
    if isinstance(value, str):
        return f"字符串 {shown}", f"the string {shown}"
    if is_list(value):
        return f"有 {len(value)} 项的数组 {shown}", f"an array of {len(value)}, {shown}"
    return f"对象 {shown}", f"the object {shown}"

"""Findings about values of another JSON type than a workflow has in that place."""

from __future__ import annotations

import json
import reprlib

from ..errors.bilingual import Bilingual
from .findings import Findings
from .json_values import is_list

ROOT = Bilingual(
    "一个对象：页面保存的工作流（其中有 nodes），或以节点编号为键的 API 格式",
    "an object: a workflow that the page saved (with nodes in it), or API form with node ids as "
    "its keys",
)
NODE = Bilingual(
    "含有 class_type 和 inputs 的对象",
    "an object with class_type and inputs",
)
PAGE_NODE = Bilingual(
    "含有 id 和 type 的对象",
    "an object with id and type",
)
LINK = Bilingual(
    "[编号, 起点, 输出序号, 终点, 输入序号, 类型]",
    "[id, from node, output, to node, input, type]",
)
STRING = Bilingual("字符串", "a string")
NO_NODE = Bilingual("里面没有节点", "there is no node in it")
NODE_ID = Bilingual("节点编号", "a node")
LINK_ID = Bilingual("连线编号", "a link")
SUBGRAPH_ID = Bilingual("子图编号", "a subgraph")
"""What an id belongs to, for ids that occur twice."""


def add_root(findings: Findings, value: object) -> None:
    """Add the finding that the top level of the file is not an object."""
    found = Bilingual(
        "最外层是{value}，应为{expected}", "its top level is {value}, expected {expected}"
    )
    findings.add("ZI-WF-SHAPE", found=found.format(value=_describe(value), expected=ROOT))
    findings.locate_last(1, 1)


def add(findings: Findings, path: str, value: object, expected: Bilingual, node: str = "") -> None:
    """Add the finding that the value at a path in the file is not as expected."""
    found = Bilingual("{path} 是{value}，应为{expected}", "{path} is {value}, expected {expected}")
    found = found.format(path=path, value=_describe(value), expected=expected)
    findings.add("ZI-WF-SHAPE", node, found=found)


def quoted(text: object) -> str:
    """Return a text as a JSON string, shortened."""
    return json.dumps(str(text)[:40], ensure_ascii=False)


def _describe(value: object) -> Bilingual:
    """Return a value with the name of its JSON type."""
    shown = quoted(value) if isinstance(value, str) else reprlib.repr(value)
    if isinstance(value, bool):
        return Bilingual(f"布尔值 {str(value).lower()}", str(value).lower())
    if value is None:
        return Bilingual("空值 null", "null")
    if isinstance(value, (int, float)):
        return Bilingual(f"数字 {shown}", f"the number {shown}")
    if isinstance(value, str):
        return Bilingual(f"字符串 {shown}", f"the string {shown}")
    if is_list(value):
        return Bilingual(f"有 {len(value)} 项的数组 {shown}", f"an array of {len(value)}, {shown}")
    return Bilingual(f"对象 {shown}", f"the object {shown}")

"""What stands in a file where a workflow has something else: found and expected, in words."""

from __future__ import annotations

import json
import reprlib

from .findings import Findings

Words = tuple[str, str]
"""The same in Chinese and in English."""

ROOT: Words = (
    "一个对象：页面保存的工作流（其中有 nodes），或以节点编号为键的 API 格式",
    "an object: a workflow that the page saved (with nodes in it), or API form with node ids as "
    "its keys",
)
NODE: Words = (
    "含有 class_type 和 inputs 的对象",
    "an object with class_type and inputs",
)
PAGE_NODE: Words = "含有 id 和 type 的对象", "an object with id and type"
LINK: Words = (
    "[编号, 起点, 输出序号, 终点, 输入序号, 类型]",
    "[id, from node, output, to node, input, type]",
)
TEXT: Words = "文字", "a text"


def tell_root(found: Findings, value: object) -> None:
    """The whole file is something else than an object."""
    zh, en = _name(value)
    found.add("ZI-WF-SHAPE", zh=f"最外层是{zh}，应为{ROOT[0]}",
              en=f"its top level is {en}, expected {ROOT[1]}")  # fmt: skip
    found.place(1, 1)


def tell(found: Findings, what: str, value: object, expected: Words, node: str = "") -> None:
    """A part of the file is something else than expected."""
    zh, en = _name(value)
    found.add("ZI-WF-SHAPE", node, zh=f"{what} 是{zh}，应为{expected[0]}",
              en=f"{what} is {en}, expected {expected[1]}")  # fmt: skip


def quoted(text: object) -> str:
    """A text as JSON has it, shortened."""
    return json.dumps(str(text)[:40], ensure_ascii=False)


def _name(value: object) -> Words:
    """A value with the name of its JSON type."""
    shown = reprlib.repr(value) if not isinstance(value, str) else quoted(value)
    if isinstance(value, bool):
        return f"逻辑值 {str(value).lower()}", str(value).lower()
    if value is None:
        return "空值 null", "null"
    if isinstance(value, (int, float)):
        return f"数 {shown}", f"the number {shown}"
    if isinstance(value, str):
        return f"文字 {shown}", f"the text {shown}"
    if isinstance(value, list):
        return f"有 {len(value)} 项的数组 {shown}", f"a list of {len(value)}, {shown}"
    return f"对象 {shown}", f"the object {shown}"

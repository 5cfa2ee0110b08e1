"""Usage errors and help of ``./zimage`` in both languages; argparse itself has English only."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import NoReturn

from .terminal import USAGE, say

_KINDS = {"int": "整数", "float": "数"}
_AMOUNTS = {
    "one argument": "一个值",
    "at least one argument": "至少一个值",
    "at most one argument": "最多一个值",
}
_MESSAGES: list[tuple[str, str]] = [
    (r"the following arguments are required: (.+)", "缺少参数 {0}"),
    (r"unrecognized arguments: (.+)", "没有这样的参数：{0}"),
    (r"ambiguous option: (.+) could match (.+)", "{0} 不明确，可能是 {1}"),
    (r"one of the arguments (.+) is required", "需要这些参数之一：{0}"),
    (r"argument (.+?): not allowed with argument (.+)", "{0} 不能与 {1} 同时使用"),
    (r"argument (.+?): invalid choice: (.+?) \(choose from (.+)\)", "{0} 没有 {1}，可选：{2}"),
    (r"argument (.+?): invalid (\w+) value: (.+)", "{0} = {2} 不是{1}"),
    (r"argument (.+?): expected (.+)", "{0} 后面需要{1}"),
    (r"argument (.+?): ignored explicit argument (.+)", "{0} 不带值，却写了 {1}"),
    (r"argument (.+?): (.+) is no whole number from (.+) to (.+)", 
     "{0} = {1} 不是 {2} 到 {3} 的整数"),
]  # fmt: skip
"""argparse's own messages (and that of :func:`integer`), and the same in Chinese."""


class Parser(argparse.ArgumentParser):
    """Tells a usage error in both languages and exits with 2."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            **{"formatter_class": Formatter, **options},  # pyright: ignore[reportArgumentType]
            add_help=False,
        )
        self._positionals.title = "参数 / arguments"
        self._optionals.title = "选项 / options"
        self.add_argument("-h", "--help", action="help", help="显示本帮助 / show this help")

    def error(self, message: str) -> NoReturn:
        chinese, english = told(message)
        say(f"用法有误：{chinese}（见 {self.prog} --help）", f"wrong usage: {english}")
        raise SystemExit(USAGE)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Examples stay as they are written, and "usage" is told in both languages."""

    def add_usage(
        self, usage: str | None, actions: object, groups: object, prefix: str | None = None
    ) -> None:
        super().add_usage(usage, actions, groups, "用法 / usage: " if prefix is None else prefix)  # pyright: ignore[reportArgumentType]


def told(message: str) -> tuple[str, str]:
    """argparse's message in Chinese and in English, with the choice that was probably meant."""
    for pattern, chinese in _MESSAGES:
        if found := re.fullmatch(pattern, message, re.DOTALL):
            words = [_KINDS.get(word, _amount(word)) for word in found.groups()]
            zh, en = chinese.format(*words), message
            meant = _meant(*found.groups()[1:]) if "choose from" in pattern else ""
            if meant:
                zh, en = f"{zh}。是否想写 {meant}？", f"{en}. Did you mean {meant}?"
            return zh, en
    return message, message


def integer(text: str, low: int, high: int) -> int:
    """A whole number within limits.

    Raises:
        argparse.ArgumentTypeError: it is none, or beyond them.
    """
    digits = text.isascii() and text.isdigit() and len(text) <= 100
    if not digits or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
    return int(text)


def _amount(word: str) -> str:
    number = re.fullmatch(r"(\d+) arguments?", word)
    return f" {number[1]} 个值" if number else _AMOUNTS.get(word, word)


def _meant(value: str, choices: str) -> str:
    names = re.findall(r"[\w-]+", choices)
    return "".join(difflib.get_close_matches(value.strip("'\""), names, 1))

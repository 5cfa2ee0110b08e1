"""The grammar of the command line."""

from __future__ import annotations

import argparse
import re

import pytest

from zimage_comfyui.cli.arguments import parse
from zimage_comfyui.cli.parser import Parser, in_both_languages, translated_argparse
from zimage_comfyui.errors.bilingual import Bilingual


def test_demo_defaults() -> None:
    """``demo`` alone is the poster template into the current folder."""
    options = parse(["demo"])
    assert (options.template, options.prompt, options.seed) == ("电商海报生成", None, None)
    assert (options.out, options.comfyui, options.json) == (".", None, False)


def test_serve_binds_loopback_by_default() -> None:
    """Nobody is exposed to the network by accident."""
    options = parse(["serve"])
    assert (options.host, options.port, options.rest) == ("127.0.0.1", 8188, [])


def test_comfyui_arguments_after_two_dashes_are_handed_on() -> None:
    """What follows ``--`` is ComfyUI's own, read by nobody here."""
    options = parse(["serve", "--port", "9000", "--", "--lowvram", "--port", "1"])
    assert (options.port, options.rest) == (9000, ["--lowvram", "--port", "1"])


def test_test_arguments_go_to_pytest_unread() -> None:
    """Even options that we have ourselves elsewhere."""
    assert parse(["test", "-k", "x", "--json", "--help"]).rest == ["-k", "x", "--json", "--help"]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["demo", "--seed", "-1"],
        ["demo", "--seed", str(2**64)],
        ["demo", "--seed", "٣"],
        ["serve", "--port", "0"],
        ["serve", "--port", "65536"],
        ["doctor", "extra"],
        ["bench", "turbo", "--no-such-option"],
    ],
)
def test_wrong_usage_ends_with_two(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error exits with 2."""
    with pytest.raises(SystemExit) as stop:
        parse(argv)
    assert stop.value.code == 2


def test_usage_error_is_told_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with nothing on standard output."""
    with pytest.raises(SystemExit):
        parse(["serve", "--port", "x"])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "用法有误" in shown.err
    assert "wrong usage" in shown.err


USAGE_ERRORS = [
    (["demo", "--seed", "x"], "--seed：'x' 不是 0 到", "--seed: 'x' is not an integer from 0 to"),
    (["serve", "--port", "0"], "--port：'0' 不是 1 到 65535 的整数", "from 1 to 65535"),
    (["serve", "--guardian", "maybe"], "--guardian：没有 'maybe'，可选：", "choice: 'maybe'"),
    (["validat"], "是否想写 validate？", "Did you mean validate?"),
    (["to-api"], "缺少参数 FILE", "are required: FILE"),
    (["doctor", "extra", "--no"], "未知参数：extra --no", "arguments: extra --no"),
    (["drill", "--only"], "--only：至少需要一个值", "expected at least one argument"),
    (["demo", "--out"], "--out：需要一个值", "expected one argument"),
    (["demo", "--json=1"], "--json：不接受值，却给了 '1'", "ignored explicit argument '1'"),
    (["drill", "--s", "1", "--l=2"], "--list：不接受值", "ignored explicit argument"),
    (["serve", "--p", "1", "--h", "x"], "--h 不明确，可能是 --help, --host", "option: --h"),
]


@pytest.mark.parametrize(("argv", "zh", "en"), USAGE_ERRORS)
def test_usage_errors_are_whole_in_each_language(
    argv: list[str], zh: str, en: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Chinese half has no word of argparse's English, and names the help."""
    with pytest.raises(SystemExit) as stop:
        parse(argv)
    assert stop.value.code == 2
    chinese, _, english = capsys.readouterr().err.partition(" / wrong usage: ")
    assert zh in chinese
    assert en in english
    assert not re.search("argument|invalid|choice|expected|required|option:|usage", chinese)
    assert f"{argv[0]} --help）" in chinese or "./zimage --help）" in chinese
    assert not re.search("[一-龥]", english)


def _two_values(parser: Parser) -> list[str]:
    parser.add_argument("--a", nargs=2)
    return ["--a", "1"]


def _int(parser: Parser) -> list[str]:
    parser.add_argument("--a", type=int)
    return ["--a", "x"]


def _exclusive(parser: Parser) -> list[str]:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--a", action="store_true")
    group.add_argument("--b", action="store_true")
    return ["--a", "--b"]


def _one_of(parser: Parser) -> list[str]:
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--a")
    group.add_argument("--b")
    return []


@pytest.mark.parametrize(
    ("add", "zh", "en"),
    [
        (_two_values, "--a：需要 2 个值", "argument --a: expected 2 arguments"),
        (_int, "--a：'x' 不是 int 类型的值", "argument --a: invalid int value: 'x'"),
        (_exclusive, "--b：不能与 --a 同时使用", "argument --b: not allowed with argument --a"),
        (_one_of, "需要这些参数之一：--a --b", "one of the arguments --a --b is required"),
    ],
)
def test_messages_that_no_command_causes_are_translated_too(
    add, zh: str, en: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new option needs no new translation."""
    parser = Parser(prog="x")
    argv = add(parser)
    with translated_argparse(), pytest.raises(SystemExit):
        parser.parse_args(argv)
    assert capsys.readouterr().err == f"用法有误：{zh}（见 x --help） / wrong usage: {en}\n"


def test_a_message_without_a_translation_stays_in_english() -> None:
    """A newer argparse may have other messages."""
    assert in_both_languages("something new") == Bilingual("something new", "something new")


def test_argparse_is_unchanged_after_parsing() -> None:
    """Other users of argparse in this process get their own texts."""
    before = argparse._, argparse.ngettext
    parse(["demo"])
    assert (argparse._, argparse.ngettext) == before


def test_help_is_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    """Headings as well."""
    with pytest.raises(SystemExit):
        parse(["serve", "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith("用法 / usage: ./zimage serve ")
    assert "选项 / options:" in shown
    assert "显示本帮助 / show this help" in shown


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` shows how it is used and exits with 0."""
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "./zimage demo --template 古风插画" in shown
    assert "exit codes" in shown

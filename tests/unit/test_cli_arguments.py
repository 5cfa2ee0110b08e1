"""The grammar of the command line."""

from __future__ import annotations

import pytest

from zimage_comfyui.cli.arguments import parse


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


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` shows how it is used and exits with 0."""
    with pytest.raises(SystemExit) as stop:
        parse(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "./zimage demo --template 古风插画" in shown
    assert "exit codes" in shown

"""What packs print: harmless, and its end kept for messages."""

from __future__ import annotations

import os

from zimage_comfyui.sandbox.host.log_capture import Output, clean


def test_lines_are_harmless() -> None:
    """Control characters, directions and endless lines."""
    assert clean("a\x1b[31mb\u202ec\x9b\r") == "a\\x1b[31mb\\x202ec\\x9b"
    assert len(clean("x" * 100_000)) < 2000
    assert clean("中文 ok\t!") == "中文 ok\t!"


def test_the_last_lines_are_kept_whatever_was_printed_before() -> None:
    """Also what is still in the pipe, and bytes that are no text."""
    output = Output("some")
    os.write(output.writing, b"x\n" * 500 + b"\xff\xfe end\n")
    assert output.last().splitlines()[-1] == "\\xff\\xfe end"
    output.begin()
    assert output.last() == ""
    output.close()


def test_last_lines_are_of_one_process_though_another_prints_already() -> None:
    """It begins anew while the end of the first is still to be told; what is in the pipe counts."""
    output = Output("some")
    first = output.begin()
    os.write(output.writing, b"last words\n")
    second = output.begin()
    os.write(output.writing, b"first words\n")
    assert (output.last(first), output.last(second)) == ("last words", "first words")
    assert output.last() == "first words"
    output.close()

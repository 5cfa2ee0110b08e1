"""What the command line says, on any terminal, and how it stops."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zimage_comfyui.cli.terminal import FAILED, Stop, complain, document, open_outputs, result
from zimage_comfyui.errors import ZImageError


def test_a_node_s_coded_error_is_told_once_per_language() -> None:
    """Its code and its two sentences are taken apart again."""
    error = ZImageError("ZI-BATCH", found="9/9", maximum=8)
    stop = Stop.from_node(FAILED, str(error))
    assert (stop.code, stop.chinese, stop.english) == (error.code, error.chinese, error.english)


def test_any_other_failure_is_quoted() -> None:
    """A stock node's message is not ours to translate."""
    stop = Stop.from_node(FAILED, "division by zero / oops")
    assert stop.code == "ZI-RUN-FAILED"
    assert "division by zero / oops" in stop.chinese
    assert "division by zero / oops" in stop.english


def test_json_runs_print_their_error_as_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output holds one JSON document even when the command fails."""
    complain(Stop(FAILED, "ZI-RUN-FAILED", found="x"), as_json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["code"] == "ZI-RUN-FAILED"
    assert len(shown.err.splitlines()) == 2


def _output(monkeypatch: pytest.MonkeyPatch, encoding: str) -> io.BytesIO:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    open_outputs()
    return raw


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_outputs_without_chinese_become_utf_8(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """A locale that nobody has set must not end a command."""
    raw = _output(monkeypatch, encoding)
    result("✗ 问题")
    assert raw.getvalue().decode() == "✗ 问题\n"


def test_a_gbk_terminal_gets_gbk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot show is escaped."""
    raw = _output(monkeypatch, "gbk")
    result("✗ 问题")
    assert raw.getvalue().decode("gbk") == "\\u2717 问题\n"


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
def test_documents_stay_json_on_any_terminal(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Emoji and a file name that is not UTF-8 come back as they were."""
    value = {"模型": "😀✗ bad\udcff.safetensors"}
    raw = _output(monkeypatch, encoding)
    document(value)
    assert json.loads(raw.getvalue().decode(encoding)) == value


@pytest.mark.parametrize("entry", ["zimage", "cli/main.py"])
@pytest.mark.parametrize(("encoding", "shown"), [("latin-1", "utf-8"), ("gbk", "gbk")])
def test_both_entry_points_open_the_outputs(
    pack_dir: Path, entry: str, encoding: str, shown: str
) -> None:
    """Even the help is in Chinese."""
    command = [sys.executable, "-P", str(pack_dir / entry), "--help"]
    env = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "古风插画" in done.stdout.decode(shown)

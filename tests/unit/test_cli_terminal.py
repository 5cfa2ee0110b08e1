"""How the command line stops."""

from __future__ import annotations

import json

import pytest

from zimage_comfyui.cli.terminal import FAILED, Stop, complain
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

"""What the launcher does when a command cannot be started."""

from __future__ import annotations

from pathlib import Path

import pytest

from zimage_comfyui.cli import doctor, launch
from zimage_comfyui.cli.terminal import FAILED, LACKING, Stop


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise Stop(LACKING, "ZI-HOST-MISSING", path=Path("/none"), found="main.py")

    monkeypatch.setattr(launch, "_python", fail)


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, launch.INTERRUPTED), (BrokenPipeError, FAILED)]
)
def test_doctor_without_an_environment_ends_like_any_command(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], status: int
) -> None:
    """Ctrl-C and a closed pipe end it with their exit codes, without a traceback."""

    def end(*_: object) -> int:
        raise error

    monkeypatch.setattr(doctor, "run", end)
    assert launch.launch(["doctor"]) == status


def test_doctor_reports_why_there_is_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the error of the preparation, and its exit code is returned."""
    failures: list[Stop] = []

    def report(_options: object, _settings: object, failure: Stop) -> int:
        failures.append(failure)
        return LACKING

    monkeypatch.setattr(doctor, "run", report)
    assert launch.launch(["doctor"]) == LACKING
    assert [failure.code for failure in failures] == ["ZI-HOST-MISSING"]


def test_another_command_reports_the_error_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """With the code of the error, and its exit status."""
    assert launch.launch(["serve"]) == LACKING
    assert "[ZI-HOST-MISSING]" in capsys.readouterr().err

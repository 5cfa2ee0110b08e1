"""``test --host-suite``: what is asked of pytest, what is copied, what counts as passed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from zimage_comfyui.cli import arguments, hostsuite, tests
from zimage_comfyui.cli.hostsuite import SuiteReport
from zimage_comfyui.cli.terminal import LACKING, Stop
from zimage_comfyui.config import PACK_DIR, Settings


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    """A folder that looks like a ComfyUI with its tests."""
    host = tmp_path / "ComfyUI"
    for name in ("comfy", "tests/execution", "tests-unit", "custom_nodes/other", "models", "user"):
        (host / name).mkdir(parents=True)
    for name in ("main.py", "nodes.py", "models/large.safetensors", "comfy/models"):
        (host / name).touch()
    return host


def test_the_option_hands_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the first argument only; what follows it is handed on."""
    seen = []
    monkeypatch.setattr(hostsuite, "run", lambda words, _settings: seen.append(words) or 0)
    options = arguments.parse(["test", "--host-suite", "tests-unit", "-k", "x"])
    assert tests.run(options, Settings(home=tmp_path)) == 0
    assert seen == [["tests-unit", "-k", "x"]]


def test_help_mentions_it(capsys: pytest.CaptureFixture[str]) -> None:
    """``./zimage test --help`` needs no environment."""
    with pytest.raises(SystemExit) as stop:
        arguments.parse(["test", "--help"])
    assert stop.value.code == 0
    assert "--host-suite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "suites", "further"),
    [
        ([], ("tests/execution", "tests-unit"), ()),
        (["-x", "-k", "lru"], ("tests/execution", "tests-unit"), ("-x", "-k", "lru")),
        (["tests-unit", "-x"], ("tests-unit",), ("-x",)),
        (["tests-unit/a_test.py::test_b"], ("tests-unit/a_test.py::test_b",), ()),
    ],
)
def test_suites_are_told_from_options(words, suites, further) -> None:
    """Without a suite both run; all else is pytest's."""
    assert hostsuite.Selection.from_words(words) == hostsuite.Selection(suites, further)


def test_only_tests_with_servers_get_a_port(tmp_path: Path) -> None:
    """``tests-unit`` knows neither ``--port`` nor ``--output_dir``."""
    with_server = hostsuite.command(["tests/execution/test_x.py"], ("-x",), 4711, tmp_path)
    assert with_server[with_server.index("--port") + 1] == "4711"
    assert with_server[-1] == "-x"
    without = hostsuite.command(["tests-unit"], (), 4711, tmp_path)
    assert not {"--port", "--output_dir", "--skip-timing-checks"} & {*without}


def test_tests_left_out_have_a_reason(tmp_path: Path) -> None:
    """Each is named in full and deselected, and nothing else is."""
    line = hostsuite.command(["tests-unit"], (), 1, tmp_path)
    assert all("::" in test and reason for test, reason in hostsuite.SKIPPED.items())
    named = [after for word, after in pairwise(line) if word == "--deselect"]
    assert named == list(hostsuite.SKIPPED)


def test_a_copy_has_this_pack_alone(comfyui: Path, tmp_path: Path) -> None:
    """Models, pictures and other packs stay where they are, and nothing is written there."""
    before = sorted(comfyui.rglob("*"))
    copy = hostsuite.copy_host(comfyui, tmp_path / "copy")
    assert [link.resolve() for link in (copy / "custom_nodes").iterdir()] == [PACK_DIR.resolve()]
    assert (copy / "main.py").exists()
    assert (copy / "comfy" / "models").exists()  # of this name, but not the models' folder
    assert not list((copy / "models").iterdir())
    paths = json.loads((copy / "tests/execution/extra_model_paths.yaml").read_text())
    assert paths == {"zimage": {"custom_nodes": str(copy / "tests/execution/testing_nodes")}}
    assert sorted(comfyui.rglob("*")) == before


def test_no_part_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the caller's environment says; servers find the private Python first."""
    monkeypatch.setenv("ZIMAGE_OFF", "queue")
    monkeypatch.setenv("PATH", "/usr/bin")
    env = hostsuite.environment()
    assert "ZIMAGE_OFF" not in env
    assert env["PATH"].endswith(":/usr/bin")
    assert Path(env["PYTHONPATH"], "zimage_hostsuite.py").exists()


def written(path: Path, outcomes: dict[str, int], failed: list[str]) -> Path:
    """What the plugin leaves."""
    found = {"outcomes": outcomes, "parts": {"queue active": 1}, "failed": failed}
    path.write_text(json.dumps(found))
    return path


def test_reports_add_up(tmp_path: Path) -> None:
    """Over both suites; a run that wrote none adds nothing."""
    path, report = tmp_path / "report.json", SuiteReport()
    assert report.add(path) == []
    assert report.add(written(path, {"passed": 2, "error": 1}, ["t::a"])) == ["t::a"]
    report.add(written(path, {"passed": 2}, []))
    assert report.add(path) == []  # counted once
    assert report == SuiteReport({"passed": 4, "error": 1}, {"queue active": 2})


def test_what_passes_in_the_end_has_not_failed(tmp_path: Path) -> None:
    """It is named, also one that failed twice in one run; failures of the other suite stay."""
    path, report = tmp_path / "report.json", SuiteReport()
    report.add(written(path, {"passed": 7, "error": 1}, ["c"]))
    before = dict(report.outcomes)
    report.add(written(path, {"passed": 5, "failed": 2, "error": 1}, ["a", "b"]))
    report.remove_failures(["a", "b"], before)
    assert (report.outcomes, report.retried) == ({"passed": 12, "error": 1}, ["a", "b"])


@pytest.mark.parametrize(
    ("words", "first", "second", "code", "runs"),
    [
        ([], [], 0, 0, 1),
        ([], ["tests-unit/x.py::a"], 1, 0, 2),
        ([], ["tests-unit/x.py::a", "tests-unit/x.py::b"], 1, 1, 2),
        ([], [f"tests-unit/x.py::{n}" for n in range(6)], 6, 1, 1),
        (["-x"], ["tests-unit/x.py::a"], 1, 1, 1),
    ],
    ids=["all pass", "one is moody", "one is skipped", "six fail", "the rest never ran"],
)
def test_few_failures_are_looked_at_twice(
    comfyui, tmp_path, monkeypatch, words, first, second, code, runs
) -> None:
    """By themselves; many, or those of a run that did not come to its end, are believed at once.

    ``first`` fail, and ``second`` of them pass when they run again.
    """
    lines: list[list[str]] = []

    def pytest_runs(line, cwd, **_more) -> SimpleNamespace:
        lines.append(line)
        failed = first if len(lines) == 1 else []
        outcomes = {"passed": 9, "failed": len(failed)} if len(lines) == 1 else {"passed": second}
        written(Path(line[line.index("--hostsuite-report") + 1]), outcomes, failed)
        return SimpleNamespace(returncode=int(bool(failed)))

    monkeypatch.setattr(hostsuite.subprocess, "run", pytest_runs)
    settings = Settings(home=tmp_path, comfyui=comfyui)
    assert hostsuite.run(["tests-unit", *words], settings) == code
    assert len(lines) == runs
    assert all({*first} <= {*line} for line in lines[1:])


@pytest.mark.parametrize(
    ("codes", "outcomes", "parts", "expected"),
    [
        ([0, 0], {"passed": 3}, {"queue active": 1, "guarded off": 1}, True),
        ([0, 5], {"passed": 3}, {}, True),
        ([1, 0], {"passed": 3, "failed": 1}, {}, False),
        ([5, 5], {}, {}, False),
        ([0], {"passed": 3}, {"queue refused": 1, "fuse active": 1}, False),
        ([0], {"passed": 3}, {"/health 404": 1}, False),
    ],
)
def test_passing_needs_tests_and_hardening(codes, outcomes, parts, expected) -> None:
    """A failure, nothing run, or a part not at work each make it fail."""
    assert hostsuite.passed(codes, SuiteReport(outcomes, parts)) is expected


def test_a_comfyui_without_its_tests_is_told(comfyui: Path, tmp_path: Path) -> None:
    """Before anything is copied, with the folder that is missing."""
    (comfyui / "tests-unit").rmdir()
    with pytest.raises(Stop) as stop:
        hostsuite.run([], Settings(home=tmp_path, comfyui=comfyui))
    assert (stop.value.status, stop.value.code) == (LACKING, "ZI-HOST-MISSING")
    assert "tests-unit" in str(stop.value)

"""The page of results says what the stored runs say."""

import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def importable(pack_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """As when a benchmark is run by file: its own folder is on the path."""
    monkeypatch.syspath_prepend(str(pack_dir / "benchmarks"))


def test_pages_are_what_the_program_writes(pack_dir: Path):
    """After a run is stored anew: ``./zimage bench report``."""
    import report

    for name, text in report.pages(pack_dir).items():
        assert (pack_dir / "docs" / name).read_text(encoding="utf-8") == text, name


def test_every_stored_run_has_a_section(pack_dir: Path):
    """Nothing is measured and then not shown."""
    import report

    stored = {path.stem for path in (pack_dir / "benchmarks" / "results").glob("*-cpu.*")}
    assert {f"{name}-cpu" for name, _ in report.SECTIONS} == stored


def test_a_missed_goal_is_said(pack_dir: Path):
    """One value above the goal, and the table says so in both languages."""
    import _report
    import _report_models

    path = pack_dir / "benchmarks" / "results" / "parity-cpu.json"
    run = json.loads(path.read_text(encoding="utf-8")) | {"file": path.name}
    run["rows"] = {"wrong": {"absolute": 2 * run["goal"], "relative": 0.5}}
    for language, words in (("en", "**not met**"), ("zh", "**未达到**")):
        assert words in _report.render(_report_models.parity(run), run, language)


@pytest.mark.parametrize("kind", ["one figure", "by kind of edit"])
def test_edits_of_old_and_new_runs_are_shown(kind: str):
    """Runs that tell kinds of edit apart have a row for each, with the bound's own share."""
    import _report
    import _report_models

    area = {"of": 4, "enough": 3, "median": 33.0, "lowest": 20.0, "autoencoder": 38.0}
    new = {"together": 31.5, "model": 29.0, "model_enough": 2, "autoencoder_enough": 4}
    by_kind = {"all": area | new, "place": {"of": 0}}
    kept = area if kind == "one figure" else by_kind
    (row,) = _report_models._kept("en", kept)
    assert row[0] == _report.Bilingual("en，全部", "en, all")
    assert "3/4 (75.0%)" in row
    assert ("31.5 dB" in row, "2/4 (50.0%)" in row) == (2 * (kind != "one figure",))
    assert row[-1] == ("–" if kind == "one figure" else "4/4 (100.0%)")

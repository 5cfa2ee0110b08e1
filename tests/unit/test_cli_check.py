"""``./zimage check`` and ``./zimage test --coverage``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import yaml

from zimage_comfyui.cli import check, tests
from zimage_comfyui.cli.terminal import USAGE, Stop
from zimage_comfyui.config import Settings


def test_pre_commit_runs_the_checks_of_the_command(pack_dir: Path) -> None:
    """Both lists have the same checks in the same order, and nothing is downloaded for them."""
    text = (pack_dir / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    repositories = yaml.safe_load(text)["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert [hook["entry"] for hook in hooks] == [f"./zimage check {name}" for name in check.CHECKS]
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in hooks)


def test_an_unknown_check_is_a_usage_error(tmp_path: Path) -> None:
    """The message lists the checks."""
    with pytest.raises(Stop, match=r"ZI-CHECK-UNKNOWN.*ruff-format") as stop:
        check.run(Namespace(names=["mypy"]), Settings(home=tmp_path))
    assert stop.value.status == USAGE


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["-k", "lru"], ["-k", "lru"]),
        (["--coverage"], [*tests.COVERAGE_OPTIONS]),
        (["--coverage", "-x"], [*tests.COVERAGE_OPTIONS, tests.NO_FLOOR, "-x"]),
        (["-x", "--coverage"], [*tests.COVERAGE_OPTIONS, tests.NO_FLOOR, "-x"]),
    ],
)
def test_the_floor_of_the_coverage_is_for_the_whole_suite(words, expected) -> None:
    """A part of the tests covers less, so it has no floor."""
    assert tests.pytest_arguments(words, workers=1) == expected


def test_the_whole_suite_uses_several_processes() -> None:
    """Each file is tested in one process."""
    assert tests.pytest_arguments([], workers=2) == ["--numprocesses", "2", "--dist", "loadfile"]


@pytest.mark.parametrize(
    ("cpus", "gib", "workers"), [(2, 24, 3), (2, 8, 2), (1, 24, 2), (1, 2, 1), (64, 512, 4)]
)
def test_workers_fit_the_machine(cpus: int, gib: int, workers: int) -> None:
    """One more than processors, as far as the memory goes, and four at most."""
    assert tests.worker_count(cpus, gib * 2**30) == workers

"""``test --host-suite``: run ComfyUI's own tests in a copy of it that has this pack."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config import PACK_DIR, Settings
from ..errors.bilingual import Bilingual
from .bootstrap import LINK_NAME
from .host import discover
from .server import free_port, host_environment, write_paths
from .terminal import DONE, FAILED, LACKING, Stop, say

SUITES = ("tests/execution", "tests-unit")
FRONTEND_TEST = "tests-unit/app_test/frontend_manager_test.py::test_init_frontend_invalid_"
SKIPPED = {
    f"{FRONTEND_TEST}version": "asks api.github.com for releases of the page",
    f"{FRONTEND_TEST}provider": "asks api.github.com for releases of the page",
}
"""Tests that need the internet, and why."""
PLUGIN = PACK_DIR / "tests" / "hostsuite"
"""Folder of a pytest plugin. It replaces two packages that ComfyUI's tests need, gives servers more
time to start, and writes the report."""
STATE_FOLDERS = ("custom_nodes", "output", "temp", "user", "models")
"""Folders that are empty in the copy at first."""
LEFT_OUT = frozenset((".git", ".venv", "venv", *STATE_FOLDERS))
"""Folders of a ComfyUI that are not copied: its tests do not need them, or write into them."""
SECONDS_PER_TEST = 300
REPORT = "report.json"
"""File that the plugin writes."""
SOME_FAILED, NOTHING_SELECTED = 1, 5
"""Exit codes of pytest."""
FAILURES = ("failed", "error")
"""Outcomes of tests that failed."""
MAX_RETRIES = 5
"""Failed tests of a suite that are run once more: some of ComfyUI's tests compare times, which vary
on a busy machine. More failures have another cause."""


@dataclass(frozen=True)
class Selection:
    """The tests to run.

    Attributes:
        suites: suites, or parts of them, as paths in a ComfyUI.
        options: options for pytest.
    """

    suites: tuple[str, ...]
    options: tuple[str, ...]

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Selection:
        """Return the selection that the arguments after ``--host-suite`` make."""
        suites = tuple(word for word in words if word.startswith(SUITES))
        return cls(suites or SUITES, tuple(word for word in words if word not in suites))

    def rounds(self) -> list[tuple[str, str]]:
        """Return pairs of a suite and a mode of the sandboxes, in which it is run.

        Tests that run prompts run twice: with their node pack in ComfyUI's process, and with it in
        a sandbox.
        """
        rounds: list[tuple[str, str]] = []
        for suite in self.suites:
            rounds.append((suite, "off"))
            if suite.startswith(SUITES[0]):
                rounds.append((suite, "strict"))
        return rounds


@dataclass
class SuiteReport:
    """Counts of all runs.

    Attributes:
        outcomes: number of tests by outcome.
        parts: number of connections to a server by ``NAME STATUS`` of a part of the hardening.
        retried: tests that failed at first and passed when they ran again.
    """

    outcomes: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    retried: list[str] = field(default_factory=list)

    def add(self, path: Path) -> list[str]:
        """Add the counts in the plugin's report of one run, and delete the file.

        Args:
            path: the file. If it is missing, nothing is added.

        Returns:
            Tests that failed.
        """
        if not path.exists():
            return []
        run = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        for total, counts in ((self.outcomes, run["outcomes"]), (self.parts, run["parts"])):
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
        return run["failed"]

    def remove_failures(self, tests: Sequence[str], before: Mapping[str, int]) -> None:
        """Remove the failures of a run whose failed tests passed when they ran again.

        Args:
            tests: the failed tests.
            before: the outcomes before that run.
        """
        self.retried += tests
        for outcome in FAILURES:
            self.outcomes.pop(outcome, None)
            if before.get(outcome):
                self.outcomes[outcome] = before[outcome]

    def inactive(self) -> list[str]:
        """Return ``NAME STATUS`` of parts that were not active.

        ``guarded off`` is left out, since the tests have no guardian.
        """
        return sorted(
            part for part in self.parts if not part.endswith(" active") and part != "guarded off"
        )


def run(words: Sequence[str], settings: Settings) -> int:
    """Run the suites one after the other; return 0 if all passed with every part active.

    Raises:
        Stop: ``ZI-HOST-MISSING`` if the ComfyUI has no tests.
    """
    start = time.monotonic()
    selection = Selection.from_words(words)
    report = SuiteReport()
    host = discover(settings, PACK_DIR).path
    for suite in SUITES:
        if not (host / suite).is_dir():
            raise Stop(LACKING, "ZI-HOST-MISSING", path=host, found=suite)
    with tempfile.TemporaryDirectory(prefix="zimage-host-suite-") as folder:
        copy_host(host, Path(folder) / "ComfyUI")
        codes = [
            _run_suite(suite, mode, selection.options, Path(folder), report)
            for suite, mode in selection.rounds()
        ]
    _print_summary(report, time.monotonic() - start)
    return DONE if passed(codes, report) else FAILED


def _run_suite(
    suite: str, mode: str, options: Sequence[str], folder: Path, report: SuiteReport
) -> int:
    """Run a suite, and run a few failed tests once more; return pytest's exit code."""
    before = dict(report.outcomes)
    code, failed = _run_pytest([suite], mode, options, folder, report)
    # With options such as -x, some tests may not have run.
    if code != SOME_FAILED or not 0 < len(failed) <= MAX_RETRIES or options:
        return code
    say(Bilingual(f"重试 {len(failed)} 项", f"running {len(failed)} failed tests again"))
    passed_before = report.outcomes.get("passed", 0)
    code, _ = _run_pytest(failed, mode, (), folder, report)
    if report.outcomes.get("passed", 0) - passed_before != len(failed):
        return SOME_FAILED
    report.remove_failures(failed, before)
    return code


def _run_pytest(
    tests: Sequence[str], mode: str, options: Sequence[str], folder: Path, report: SuiteReport
) -> tuple[int, list[str]]:
    """Run tests of one suite in the copy; return pytest's exit code and the failed tests."""
    line = command(tests, options, free_port(), folder)
    process = subprocess.run(line, cwd=folder / "ComfyUI", env=environment(mode), check=False)
    return process.returncode, report.add(folder / REPORT)


def copy_host(host: Path, workspace: Path) -> Path:
    """Copy a ComfyUI to the new folder ``workspace``, with this pack and no other; return it."""

    def left_out(folder: str, names: list[str]) -> Collection[str]:
        return LEFT_OUT.intersection(names) if Path(folder) == host else ()

    shutil.copytree(host, workspace, symlinks=True, ignore=left_out)
    for name in STATE_FOLDERS:
        (workspace / name).mkdir()
    (workspace / "custom_nodes" / LINK_NAME).symlink_to(PACK_DIR, target_is_directory=True)
    packs = workspace / "tests" / "execution"
    # The tests need this file, which the embedded ComfyUI does not have.
    write_paths(packs / "extra_model_paths.yaml", {"custom_nodes": str(packs / "testing_nodes")})
    return workspace


def command(tests: Sequence[str], options: Sequence[str], port: int, folder: Path) -> list[str]:
    """Return the command that runs tests of one suite. It writes only under ``folder``."""
    line = [sys.executable, "-m", "pytest", *tests, "-p", "zimage_hostsuite", "-q"]
    line += ["-p", "no:cacheprovider", "--timeout", str(SECONDS_PER_TEST)]
    line += ["--hostsuite-report", str(folder / REPORT)]
    for test in SKIPPED:
        line += ["--deselect", test]
    if tests[0].startswith(SUITES[0]):
        line += ["--skip-timing-checks", "--port", str(port)]
        line += ["--output_dir", str(folder / "ComfyUI" / "output")]
    return [*line, *options]


def environment(mode: str = "off") -> dict[str, str]:
    """Return the environment for pytest and its servers, with every part of the hardening on.

    Args:
        mode: mode of the sandboxes.
    """
    env = {
        name: value for name, value in host_environment().items() if not name.startswith("ZIMAGE_")
    }
    env["ZIMAGE_SANDBOX"] = mode
    # The tests start servers as ``python``.
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", "")))
    env["PYTHONPATH"] = str(PLUGIN)
    return env


def passed(codes: Sequence[int], report: SuiteReport) -> bool:
    """Return whether tests ran, none failed, and every part was active in every server."""
    count = report.outcomes.get("passed", 0)
    return set(codes) <= {0, NOTHING_SELECTED} and count > 0 and not report.inactive()


def _print_summary(report: SuiteReport, seconds: float) -> None:
    for test, reason in SKIPPED.items():
        say(Bilingual(f"不运行 {test}（需要联网）", reason))
    counts = ", ".join(f"{count} {name}" for name, count in report.outcomes.items()) or "0"
    say(Bilingual(f"ComfyUI 自带测试：{seconds:.0f} 秒", f"ComfyUI's own tests: {counts}"))
    if report.retried:
        say(Bilingual(f"重试后通过：{', '.join(report.retried)}", "passed when run again"))
    if report.parts:  # without a server there are none
        inactive = ", ".join(report.inactive())
        say(Bilingual(f"未生效的加固：{inactive or '无'}", f"inactive parts: {inactive or 'none'}"))

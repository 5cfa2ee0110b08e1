"""``test --host-suite``: ComfyUI's own tests, in a copy of it with this pack and its hardening."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config import PACK_DIR, Settings
from ..errors.bilingual import Bilingual
from .bootstrap import LINK_NAME
from .host import discover
from .server import free_port, host_environment, write_paths
from .terminal import DONE, FAILED, LACKING, Stop, say

SUITES = ("tests/execution", "tests-unit")
PAGE = "tests-unit/app_test/frontend_manager_test.py::test_init_frontend_invalid_"
SKIPPED = {
    f"{PAGE}version": "asks api.github.com for releases of the page",
    f"{PAGE}provider": "asks api.github.com for releases of the page",
}
"""Tests that need the internet, and what for."""
PLUGIN = PACK_DIR / "tests" / "hostsuite"
"""Stands in for three packages that ComfyUI's tests want; waits for servers on cold disks."""
LEFT_OUT = frozenset((".git", ".venv", "venv", "custom_nodes", "output", "temp", "user", "models"))
"""Folders of a ComfyUI that its tests do not need, or write into."""
SECONDS_PER_TEST = 300
REPORT = "report.json"
SOME_FAILED, NOTHING_SELECTED = 1, 5
"""pytest's exit codes."""
FAILURES = ("failed", "error")
MOST_AGAIN = 5
"""Tests of a suite that may fail and are run once more: some of ComfyUI's compare times, which a
busy machine upsets. More than that is no accident."""


@dataclass(frozen=True)
class Plan:
    """What a command line asks for: ``suites`` as paths in a ComfyUI, ``further`` for pytest."""

    suites: tuple[str, ...]
    further: tuple[str, ...]


@dataclass
class Report:
    """How many tests ended how, and how often (``NAME STATUS``) a hardening part was seen how.

    Attributes:
        again: tests that failed first and passed when they ran by themselves.
    """

    outcomes: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def add(self, path: Path) -> list[str]:
        """Count what the plugin wrote; nothing when it did not come that far.

        Returns:
            Tests that failed.
        """
        if not path.exists():
            return []
        found = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        for mine, theirs in ((self.outcomes, found["outcomes"]), (self.parts, found["parts"])):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        return found["failed"]

    def forgive(self, tests: Sequence[str], before: Mapping[str, int]) -> None:
        """Their failures do not count: they have passed since. ``before`` are outcomes without."""
        self.again += tests
        for kind in FAILURES:
            self.outcomes.pop(kind, None)
            if before.get(kind):
                self.outcomes[kind] = before[kind]

    def idle(self) -> list[str]:
        """Parts that were seen not at work. ``guarded`` is only under a guardian."""
        return sorted(
            part for part in self.parts if not part.endswith(" active") and part != "guarded off"
        )


def run(words: Sequence[str], settings: Settings) -> int:
    """Runs the suites one after the other; 0 when all passed with every part at work.

    Raises:
        Stop: ``ZI-HOST-MISSING`` when the ComfyUI has come without its tests.
    """
    began, plan, report = time.monotonic(), planned(words), Report()
    host = discover(settings, PACK_DIR).path
    for suite in SUITES:
        if not (host / suite).is_dir():
            raise Stop(LACKING, "ZI-HOST-MISSING", path=host, found=suite)
    codes = []
    with tempfile.TemporaryDirectory(prefix="zimage-host-suite-") as folder:
        workspace = copied(host, Path(folder) / "ComfyUI")

        def attempt(
            tests: Sequence[str], further: Sequence[str], mode: str
        ) -> tuple[int, list[str]]:
            line = command(tests, further, free_port(), Path(folder))
            done = subprocess.run(line, cwd=workspace, env=environment(mode), check=False)
            return done.returncode, report.add(Path(folder) / REPORT)

        for suite, mode in rounds(plan.suites):
            before = dict(report.outcomes)
            code, failed = attempt([suite], plan.further, mode)
            # With options such as -x not everything has run.
            if code == SOME_FAILED and 0 < len(failed) <= MOST_AGAIN and not plan.further:
                say(Bilingual(f"重试 {len(failed)} 项", f"{len(failed)} failed and run once more"))
                passed_before = report.outcomes.get("passed", 0)
                code, _ = attempt(failed, (), mode)
                if report.outcomes.get("passed", 0) - passed_before == len(failed):
                    report.forgive(failed, before)
                else:
                    code = SOME_FAILED
            codes.append(code)
    _tell(report, time.monotonic() - began)
    return DONE if passed(codes, report) else FAILED


def planned(words: Sequence[str]) -> Plan:
    """Reads what follows ``--host-suite``: suites or tests in them; the rest is pytest's."""
    suites = tuple(word for word in words if word.startswith(SUITES))
    return Plan(suites or SUITES, tuple(word for word in words if word not in suites))


def rounds(suites: Sequence[str]) -> list[tuple[str, str]]:
    """What to run with which mode of the sandboxes: prompts once with the testing pack in ComfyUI's
    own process and once with it in a sandbox."""
    return [
        (suite, mode)
        for suite in suites
        for mode in (("off", "strict") if suite.startswith(SUITES[0]) else ("off",))
    ]


def copied(host: Path, workspace: Path) -> Path:
    """A ComfyUI of the tests' own, with this pack and no other; the host itself stays as it is."""
    shutil.copytree(host, workspace, symlinks=True, ignore=_left_out(host))
    for name in ("custom_nodes", "output", "temp", "user", "models"):
        (workspace / name).mkdir()
    (workspace / "custom_nodes" / LINK_NAME).symlink_to(PACK_DIR, target_is_directory=True)
    packs = workspace / "tests" / "execution"
    # Embedded hosts lack every file of this name.
    write_paths(packs / "extra_model_paths.yaml", {"custom_nodes": str(packs / "testing_nodes")})
    return workspace


def _left_out(host: Path) -> Callable[[str, list[str]], Collection[str]]:
    return lambda folder, names: LEFT_OUT & {*names} if Path(folder) == host else ()


def command(tests: Sequence[str], further: Sequence[str], port: int, folder: Path) -> list[str]:
    """pytest over tests of one suite, in the copy; what is written goes below ``folder``."""
    line = [sys.executable, "-m", "pytest", *tests, "-p", "zimage_hostsuite", "-q"]
    line += ["-p", "no:cacheprovider", "--timeout", str(SECONDS_PER_TEST)]
    line += ["--hostsuite-report", str(folder / REPORT)]
    for test in SKIPPED:
        line += ["--deselect", test]
    if tests[0].startswith(SUITES[0]):
        line += ["--skip-timing-checks", "--port", str(port)]
        line += ["--output_dir", str(folder / "ComfyUI" / "output")]
    return [*line, *further]


def environment(mode: str = "off") -> dict[str, str]:
    """For pytest and the servers that it starts as ``python``: no part of the hardening is off.

    Args:
        mode: of the sandboxes.
    """
    env = {name: value for name, value in host_environment().items() if name[:7] != "ZIMAGE_"}
    env["ZIMAGE_SANDBOX"] = mode
    env["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), env.get("PATH", "")))
    env["PYTHONPATH"] = str(PLUGIN)
    return env


def passed(codes: Sequence[int], report: Report) -> bool:
    """Whether no test failed, at least one ran, and every part was at work in every server."""
    ran = report.outcomes.get("passed", 0)
    return {*codes} <= {0, NOTHING_SELECTED} and ran > 0 and not report.idle()


def _tell(report: Report, seconds: float) -> None:
    for test, reason in SKIPPED.items():
        say(Bilingual(f"不运行 {test}", reason))
    counts = ", ".join(f"{count} {name}" for name, count in report.outcomes.items()) or "0"
    say(Bilingual(f"ComfyUI 自带测试：{seconds:.0f} 秒", f"ComfyUI's own tests: {counts}"))
    if report.again:
        say(Bilingual(f"重试后通过：{', '.join(report.again)}", "passed when run once more"))
    if report.parts:  # tests without a server say nothing about it
        idle = ", ".join(report.idle())
        say(
            Bilingual(f"未起作用的加固：{idle or '无'}", f"hardening not at work: {idle or 'none'}")
        )

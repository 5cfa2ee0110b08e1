"""The manual for operators lists what there is, in both languages."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui import config
from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.patches.base import sandbox_source
from zimage_comfyui.patches.base.limits import DEFAULTS
from zimage_comfyui.patches.base.registry import NAMES, Registry
from zimage_comfyui.patches.monitoring.health import Health
from zimage_comfyui.patches.monitoring.metrics import Metrics

HEADINGS = {
    "operations.md": {
        "settings": "## Settings",
        "parts": "## Parts of the hardening",
        "metrics": "## Metrics",
        "requests": "### Limits of requests",
        "guardian": "### Limits of the guardian",
        "reasons": "With 503, `reasons` contains",
    },
    "operations.zh-CN.md": {
        "settings": "## 配置项",
        "parts": "## 加固组件",
        "metrics": "## 指标",
        "requests": "### 请求限制",
        "guardian": "### 守护进程的限制",
        "reasons": "`reasons` 的取值",
    },
}
"""Files of the manual, one per language, and the text that precedes each table in them."""
INTERNAL = {"ZIMAGE_UNGUARDED", "ZIMAGE_GUARDIAN", "ZIMAGE_SERVER"}
"""Variables that the guardian sets for its servers."""


@dataclass(frozen=True)
class Manual:
    """The manual in one language."""

    text: str
    headings: dict[str, str]

    def rows(self, table: str) -> list[str]:
        """Return the names in the first column of a table."""
        return rows(self.text, self.headings[table])


@pytest.fixture(scope="module", params=HEADINGS)
def manual(request: pytest.FixtureRequest, pack_dir: Path) -> Manual:
    """Each language in turn."""
    text = (pack_dir / "docs" / request.param).read_text(encoding="utf-8")
    return Manual(text, HEADINGS[request.param])


def rows(page: str, heading: str) -> list[str]:
    """Return the names in the first column of the first table after a heading."""
    part = page.split(heading, 1)[1].split("\n|---", 1)[1]
    lines = part.split("\n\n", 1)[0].splitlines()[1:]
    return [
        name
        for line in lines
        if line.startswith("|")
        for name in re.findall(r"`([a-zA-Z_]+)", line.split("|")[1])
    ]


def test_every_part_of_the_hardening(manual: Manual) -> None:
    """The manual lists each part of the hardening once."""
    assert sorted(manual.rows("parts")) == sorted(NAMES)


def test_every_part_of_the_hardening_in_the_architecture(pack_dir: Path) -> None:
    """The architecture lists each part of the hardening once."""
    architecture = (pack_dir / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert sorted(rows(architecture, "<!-- parts:begin -->")) == sorted(NAMES)


def test_every_metric(manual: Manual, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manual lists every metric, those of sandboxes and of each counting part included."""
    pack = {"status": "running", "starts": 1, "ends": 0, "memory_bytes": 1}
    monkeypatch.setattr(
        sandbox_source, "_source", lambda: sandbox_source.NONE | {"packs": {"a": pack}}
    )
    registry = Registry()
    one: Any = SimpleNamespace(swaps=0, incomplete=0, unloads=0, last=0.0, seconds=0.0)
    one.counts, one.admission = {"deviations": 0, "released": 0}, one
    one.watch, one.ended = SimpleNamespace(uses={}), Counter()
    for name in ("memory", "swap", "residency", "disk", "logs"):
        registry.states[name].part = one
    queue = SimpleNamespace(currently_running={}, queue=[], history={})
    health = Health(SimpleNamespace(prompt_queue=queue), registry)
    there = re.findall(r"^# TYPE (\S+)", Metrics(health).text(), re.MULTILINE)
    assert sorted(manual.rows("metrics")) == sorted(there)


def test_every_limit(manual: Manual) -> None:
    """The manual lists every limit of requests and of the guardian."""
    assert sorted(manual.rows("requests")) == sorted(DEFAULTS)
    assert sorted(manual.rows("guardian")) == sorted(Limits.__annotations__)


def test_every_setting(manual: Manual) -> None:
    """The manual lists every environment variable for operators that the settings read."""
    documented = {name for name in manual.rows("settings") if name.startswith("ZIMAGE_")}
    read = set(re.findall(r"\bZIMAGE_[A-Z_]+\b", inspect.getsource(config)))
    assert documented == read - INTERNAL


def test_every_reason(manual: Manual, pack_dir: Path) -> None:
    """The manual lists every reason why ``/health/ready`` may be 503."""
    files = [path.read_text(encoding="utf-8") for path in (pack_dir / "patches").rglob("*.py")]
    bodies = re.findall(r"def reasons\(.*?\n\n", "".join(files), re.DOTALL)
    names = {name for body in bodies for name in re.findall(r'\["([a-z]+)"\]', body)}
    assert set(manual.rows("reasons")) == names

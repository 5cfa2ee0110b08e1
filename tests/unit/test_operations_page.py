"""The page for operators names what there is."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.patches.base.registry import NAMES, Registry
from zimage_comfyui.patches.monitoring import sandbox_source
from zimage_comfyui.patches.monitoring.health import Health
from zimage_comfyui.patches.monitoring.metrics import Metrics
from zimage_comfyui.patches.requests import fuse


@pytest.fixture(scope="module")
def page(pack_dir: Path) -> str:
    """The text."""
    return (pack_dir / "docs" / "operations.md").read_text(encoding="utf-8")


def rows(page: str, heading: str) -> list[str]:
    """What the first cells of the first table under a heading name."""
    part = page.split(heading, 1)[1].split("\n|---", 1)[1]
    lines = part.split("\n\n", 1)[0].splitlines()[1:]
    return [name for line in lines for name in re.findall(r"`([a-z_]+)", line.split("|")[1])]


def test_every_part_of_the_hardening(page: str, pack_dir: Path) -> None:
    """Both here and, in English, in the table of the architecture."""
    assert sorted(rows(page, "## 加固的各部分")) == sorted(NAMES)
    architecture = (pack_dir / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert sorted(rows(architecture, "## The hardening")) == sorted(NAMES)


def test_every_metric(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With sandboxes, and with every part that counts something."""
    pack = {"status": "running", "starts": 1, "ends": 0, "memory_bytes": 1}
    monkeypatch.setattr(
        sandbox_source, "_source", lambda: sandbox_source.NONE | {"packs": {"a": pack}}
    )
    registry = Registry()
    one: Any = SimpleNamespace(swaps=0, incomplete=0, unloads=0, last=0.0, seconds=0.0)
    one.counts, one.reserve = {"deviations": 0, "released": 0}, one
    one.watch, one.ended = SimpleNamespace(uses={}), Counter()
    for name in ("memory", "swap", "residency", "disk", "logs"):
        registry.states[name].part = one
    queue = SimpleNamespace(currently_running={}, queue=[], history={})
    health = Health(SimpleNamespace(prompt_queue=queue), registry)
    there = re.findall(r"^# TYPE (\S+)", Metrics(health).text(), re.MULTILINE)
    assert sorted(rows(page, "`/metrics`")) == sorted(there)


def test_every_limit(page: str) -> None:
    """Of requests and of the guardian."""
    assert sorted(rows(page, '`ZIMAGE_LIMITS="')) == sorted(fuse.LIMITS)
    assert sorted(rows(page, '`ZIMAGE_GUARD="')) == sorted(Limits.__annotations__)


def test_every_reason(page: str, pack_dir: Path) -> None:
    """Why ``/health/ready`` is 503."""
    files = [path.read_text(encoding="utf-8") for path in (pack_dir / "patches").glob("*.py")]
    bodies = re.findall(r"def reasons\(.*?\n\n", "".join(files), re.DOTALL)
    there = {name for body in bodies for name in re.findall(r'\["([a-z]+)"\]', body)}
    assert set(rows(page, "`reasons` 说明原因")) == there

"""What Prometheus reads, and what the panel asks for."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.patches.base import refusals
from zimage_comfyui.patches.base.registry import NAMES, Registry
from zimage_comfyui.patches.disk.usage import Use
from zimage_comfyui.patches.monitoring import metrics
from zimage_comfyui.patches.monitoring.families import Family, label
from zimage_comfyui.patches.monitoring.health import Health
from zimage_comfyui.patches.monitoring.metrics import Metrics
from zimage_comfyui.patches.monitoring.status import Status, tail

GAUGES = [
    "up", "uptime_seconds", "queue_running", "queue_waiting", "history_entries", "models_loaded",
    "patch_active", "memory_deviation_ratio", "disk_used_ratio", "disk_free_bytes",
    "resident_memory_bytes", "gpu_memory_reserved_bytes",
    "open_file_descriptors", "threads",
]  # fmt: skip


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> Health:
    """A server with a prompt that runs and two that wait; logs that saw three end."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(refusals, "counts", Counter({"ZI-REQUEST": 4}))
    queue = SimpleNamespace(
        currently_running={1: ()}, queue=[(), ()], history={"a": {}}, get_tasks_remaining=lambda: 3
    )
    registry = Registry()
    registry.states["logs"].status = "active"
    registry.states["logs"].part = SimpleNamespace(
        active=True, ended=Counter({"success": 2, "error": 1, "interrupted": 0}), seconds=2.5
    )  # type: ignore[assignment]
    reserve = SimpleNamespace(swaps=3, incomplete=1)
    counts = {"deviations": 2, "released": 7}
    use = Use(91.5, "inodes", Path("x"), 4096)
    for name, part in {
        "memory": SimpleNamespace(last=-0.0125, counts=counts, admission=reserve),
        "swap": SimpleNamespace(swaps=0, incomplete=0),
        "residency": SimpleNamespace(unloads=5),
        "disk": SimpleNamespace(watch=SimpleNamespace(uses={"output": use})),
    }.items():
        registry.states[name].part = part  # type: ignore[assignment]
    clock = iter([10.0, 15.5])
    return Health(SimpleNamespace(prompt_queue=queue), registry, lambda: next(clock, 15.5))


def read(text: str) -> dict[str, float]:
    """Samples by name and labels; every family has its two comments, and samples of its own."""
    found, family = {}, ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family, about = line.removeprefix("# HELP ").split(" ", 1)
            assert about
        elif line.startswith("# TYPE "):
            assert line.split()[2] == family
        else:
            name, value = line.rsplit(" ", 1)
            assert name.partition("{")[0].removesuffix("_sum").removesuffix("_count") == family
            found[name.removeprefix("zimage_")] = float(value)
    return found


def test_every_metric(health: Health) -> None:
    """With its kind, and the values that were there."""
    text = Metrics(health).text()
    found = read(text)
    for name in GAUGES:
        assert f"# TYPE zimage_{name} gauge\n" in text
    assert found["up"] == 0  # no worker runs in this process
    assert found["uptime_seconds"] == 5.5
    assert (found["queue_running"], found["queue_waiting"], found["history_entries"]) == (1, 2, 1)
    assert {name: found[f'patch_active{{part="{name}"}}'] for name in NAMES} == {
        name: name == "logs" for name in NAMES
    }
    assert found['prompts_total{status="success"}'] == 2
    assert found['prompts_total{status="interrupted"}'] == 0
    assert (found["prompt_seconds_sum"], found["prompt_seconds_count"]) == (2.5, 3)
    assert found['refusals_total{code="ZI-REQUEST"}'] == 4
    assert found["gpu_memory_reserved_bytes"] == 0
    assert 2**20 < found["resident_memory_bytes"] < 2**40
    assert found["threads"] >= 1
    assert found["memory_deviation_ratio"] == -0.0125
    assert (found["memory_deviations_total"], found["memory_releases_total"]) == (2, 7)
    assert found['model_swaps_total{place="ram"}'] == 3
    assert found['model_swaps_total{place="gpu"}'] == 0
    assert found['model_swaps_incomplete_total{place="ram"}'] == 1
    assert found["idle_unloads_total"] == 5
    assert found['disk_used_ratio{folder="output"}'] == 0.915
    assert found['disk_free_bytes{folder="output"}'] == 4096
    assert found["open_file_descriptors"] >= 1


def test_what_nobody_counts_is_not_there(health: Health) -> None:
    """Rather than 0, where a part is switched off."""
    for state in health.registry.states.values():
        state.part = None
    names = " ".join(read(Metrics(health).text()))
    for word in ("prompt", "disk_", "swaps", "unloads", "deviation"):
        assert word not in names


def test_names_follow_the_conventions_of_prometheus(
    health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters and no others end in ``_total``, units are base units, and no name has its kind."""
    pack = {"status": "running", "starts": 1, "ends": 0, "memory_bytes": 1}
    packs = {"mode": "auto", "packs": {"a": pack}}
    monkeypatch.setattr(metrics.sandbox_source, "describe", lambda: packs)
    families = list(Metrics(health).families())
    assert len({family.name for family in families}) == len(families) > 20
    for family in families:
        words = family.name.split("_")
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert (words[-1] == "total") is (family.kind == "counter"), family.name
        assert not {"gauge", "counter", "summary", "count", "sum", "bucket"} & {*words}
        assert not {"ms", "milliseconds", "minutes", "mb", "mib", "percent"} & {*words}
        assert family.help[0].isupper() or family.help[0].isdigit()
        assert family.help.endswith(".")


@pytest.mark.parametrize("name", ["a", 'b"', "c\\", "d\ne", "名"])
def test_labels_are_escaped(name: str) -> None:
    """A value with any character gives one line, from which it can be read back."""
    line = Family("x", "gauge", "X.", {label("pack", name): 1}).text().splitlines()[-1]
    value = line.removeprefix('zimage_x{pack="').removesuffix('"} 1')
    assert value.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\") == name


def test_refusals_are_counted(health: Health, tmp_path: Path) -> None:
    """By their code; what was only changed is none."""
    request: Any = SimpleNamespace(headers={}, path="/prompt")
    log = tmp_path / refusals.LOG
    refusals.log_refusal(request, "ZI-ORIGIN", log)
    refusals.log_event(log, "-", "/prompt", "ZI-CLAMPED", "clamped")
    found = read(Metrics(health).text())
    assert found['refusals_total{code="ZI-ORIGIN"}'] == 1
    assert 'refusals_total{code="ZI-CLAMPED"}' not in found


def test_the_answer_is_of_prometheus_type_and_quick(health: Health) -> None:
    """The best of ten takes less than 5 ms."""
    spent = []
    for _ in range(10):
        began = time.perf_counter()
        answer = asyncio.run(Metrics(health).answer(None))  # type: ignore[arg-type]
        spent.append(time.perf_counter() - began)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert min(spent) < 0.005


def test_the_panel_hears_of_memory_and_the_guardian(health: Health, tmp_path: Path) -> None:
    """What ``/health`` says, and that; without a guardian nothing of one."""
    journal = tmp_path / "guardian.log"
    journal.write_text("".join(f"{'…' * 400} {number}\n" for number in range(100)), "utf-8")
    answer: Any = asyncio.run(Status(health, journal).answer(None))  # type: ignore[arg-type]
    found = json.loads(answer.text)
    assert found["queue"] == {"running": 1, "waiting": 2, "history": 1}
    assert 0 < found["memory"]["ram"]["used"] < found["memory"]["ram"]["total"]
    assert "gpu" not in found["memory"]
    assert [line.split()[1] for line in found["guardian"]] == [str(n) for n in range(87, 100)]
    answer = asyncio.run(Status(health, None).answer(None))  # type: ignore[arg-type]
    assert json.loads(answer.text)["guardian"] == []


def test_the_end_of_a_log(tmp_path: Path) -> None:
    """At most twenty lines; none of what is not there."""
    path = tmp_path / "guardian.log"
    assert tail(path) == []
    path.write_text("".join(f"{number}\n" for number in range(30)))
    assert tail(path) == [str(number) for number in range(10, 30)]

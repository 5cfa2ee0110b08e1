"""What ``/health`` and ``/health/ready`` answer."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.patches.base.registry import Registry, State
from zimage_comfyui.patches.monitoring.health import Health


@pytest.mark.parametrize(
    ("states", "reasons", "expected"),
    [
        ({"worker": "active", "disk": "off"}, [], ("ok", 200, [])),
        ({"worker": "refused", "disk": "off"}, [], ("degraded", 200, ["worker"])),
        ({"worker": "active", "guarded": "failed"}, [], ("degraded", 200, ["guarded"])),
        ({"worker": "refused"}, ["worker"], ("unavailable", 503, ["worker"])),
    ],
)
def test_a_part_that_does_not_work_is_no_good_health(
    states: dict[str, str], reasons: list[str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the operator has switched it off; the server is ready all the same."""
    registry = Registry([])
    registry.states = {name: State(name, status) for name, status in states.items()}
    queue = SimpleNamespace(
        currently_running={}, queue=[], history={}, get_tasks_remaining=lambda: 0
    )
    one = Health(SimpleNamespace(prompt_queue=queue), registry)
    monkeypatch.setattr(one, "reasons", lambda: reasons)
    answer = asyncio.run(one.health(None))  # type: ignore[arg-type]
    found = json.loads(answer.text or "")
    assert (found["status"], answer.status, found["degraded"]) == expected
    assert found["reasons"] == reasons
    ready = asyncio.run(one.ready(None))  # type: ignore[arg-type]
    assert ready.status == answer.status

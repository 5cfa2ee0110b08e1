"""Heartbeats as servers send them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.guardian.heartbeat import Heartbeat, MemoryReading


def test_a_heartbeat_is_read() -> None:
    """Every value of the message has its place."""
    message = {
        "loop": 1.5,
        "resident": 2000.0,
        "running": 1,
        "waiting": 0,
        "models": ["A"],
        "worker": False,
        "rest": {"prompts": 3, "resident": 1800.0, "models": []},
    }
    assert Heartbeat.from_message(message) == Heartbeat(
        loop_blocked=1.5,
        busy=True,
        memory=MemoryReading(2000.0, "['A']", 0.0),
        after_prompt=MemoryReading(1800.0, "[]", 3.0),
        worker_ended=True,
    )


@pytest.mark.parametrize("worker", [None, True])
def test_only_a_worker_that_has_ended_counts_as_ended(worker: object) -> None:
    """While nothing is known of the worker, it has not ended."""
    heartbeat = Heartbeat.from_message({"worker": worker, "rest": None})
    assert heartbeat is not None
    assert not heartbeat.worker_ended
    assert heartbeat.after_prompt is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(values=st.dictionaries(st.sampled_from(["loop", "resident", "models", "rest"]), JSON))
def test_no_message_raises(values: dict[str, Any]) -> None:
    """A value of another type counts as zero."""
    assert Heartbeat.from_message(values) is not None


@pytest.mark.parametrize("message", [None, [], "beat", 1])
def test_what_is_no_object_is_no_heartbeat(message: object) -> None:
    """The message asks for something else, then."""
    assert Heartbeat.from_message(message) is None

"""When heartbeats lead to the replacement of the active server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from zimage_comfyui.guardian.heartbeat import Heartbeat
from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.messages import reason_text
from zimage_comfyui.guardian.mode import Mode
from zimage_comfyui.guardian.replacement_policy import ReplacementPolicy
from zimage_comfyui.guardian.server import Server, State
from zimage_comfyui.guardian.server_process import ServerProcess

LIMITS = Limits(quick=10, growth=100, growth_time=50, ceiling=5000, age=1000)


@pytest.fixture
def server() -> Iterator[Server]:
    """An active server since time 0; its process is this one."""
    active = Server(ServerProcess(os.getpid()), 1, Mode.NORMAL, LIMITS, lambda: 0.0)
    active.enter(State.ACTIVE)
    yield active
    active.close()


def beat(resident: float, *, running: int = 0, rest: dict[str, object] | None = None) -> Heartbeat:
    """Return a heartbeat with one value of memory."""
    message = {"resident": resident, "running": running, "models": [], "rest": rest}
    heartbeat = Heartbeat.from_message(message)
    assert heartbeat is not None
    return heartbeat


def test_memory_above_the_ceiling_counts_only_while_idle(server: Server) -> None:
    """A running prompt may take more, and so may the heartbeat after it."""
    policy = ReplacementPolicy(LIMITS)
    assert policy.record_heartbeat(server, beat(6000, running=1), 20.0) is None
    assert policy.record_heartbeat(server, beat(6000), 21.0) is None
    replacement = policy.record_heartbeat(server, beat(6000), 22.0)
    assert replacement == reason_text("ceiling", mib=6000, limit=5000)


def test_a_new_server_may_be_large(server: Server) -> None:
    """For the first seconds it is not replaced."""
    policy = ReplacementPolicy(LIMITS)
    assert policy.record_heartbeat(server, beat(6000), 5.0) is None
    assert policy.record_heartbeat(server, beat(6000), 10.0) is not None


def test_memory_after_a_prompt_counts_under_load(server: Server) -> None:
    """Each reading counts once, although prompts run all the time."""
    policy = ReplacementPolicy(LIMITS)
    rest: dict[str, object] = {"prompts": 1, "resident": 6000, "models": []}
    assert policy.record_heartbeat(server, beat(100, running=1, rest=rest), 20.0) is not None
    assert policy.record_heartbeat(server, beat(100, running=1, rest=rest), 21.0) is None


def test_growth_replaces_a_server_at_most_once_in_a_while(server: Server) -> None:
    """When the growth comes back at once, a replacement does not help."""
    policy = ReplacementPolicy(LIMITS)
    reasons = [
        policy.record_heartbeat(server, beat(1000 + 60 * number), 20.0 + number)
        for number in range(6)
    ]
    assert [reason is not None for reason in reasons] == [False, False, False, True, False, False]
    later = policy.record_heartbeat(server, beat(1000), 330.0)
    assert later is None
    grown = [
        policy.record_heartbeat(server, beat(1000 + 60 * number), 330.0 + number)
        for number in range(5)
    ]
    assert any(grown)


def test_an_old_server_is_replaced_while_idle(server: Server) -> None:
    """Not while a prompt runs, and not once it is to be replaced anyway."""
    policy = ReplacementPolicy(LIMITS)
    assert policy.record_heartbeat(server, beat(100, running=1), 2000.0) is None
    assert policy.record_heartbeat(server, beat(100), 2001.0) is None
    replacement = policy.record_heartbeat(server, beat(100), 2002.0)
    assert replacement == reason_text("age", seconds=2002.0)
    server.end_reason = replacement
    assert policy.record_heartbeat(server, beat(100), 2003.0) is None

"""Memory of the GPU before a start, with an ``nvidia-smi`` that says what the test wants."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zimage_comfyui.guardian.gpu_memory import ANSWER_TIMEOUT, GpuMemoryCheck
from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.tests.fakes.waiting import wait

LIMITS = Limits(gpu_free=1000, gpu_wait=30)
Say = Callable[[str], None]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Puts a tool of that name into the path."""
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def write(script: str) -> None:
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)

    return write


def answered(gpu: GpuMemoryCheck, now: float) -> bool:
    """The verdict, once the tool has ended."""
    verdicts: list[bool] = []

    def ask() -> bool:
        verdicts.append(gpu.may_start(now))
        return verdicts[-1] or gpu.is_waiting

    wait(ask)
    return verdicts[-1]


def gone(gpu: GpuMemoryCheck) -> bool:
    """Whether tools that were given up have ended."""
    return all(one.poll() is not None for one in gpu._killed)


def test_enough_is_enough(say: Say) -> None:
    """On the card that has most."""
    say("echo 200; echo 1000")
    gpu = GpuMemoryCheck(LIMITS, used=True)
    assert answered(gpu, 0.0)
    assert (gpu.free, gpu.is_waiting) == (1000.0, False)


def test_too_little_is_waited_for(say: Say) -> None:
    """What a process held that was killed comes back a moment later."""
    say("echo 200")
    gpu = GpuMemoryCheck(LIMITS, used=True)
    assert not answered(gpu, 0.0)
    assert not gpu.may_start(29.0)
    say("echo 20000")
    wait(lambda: gpu.may_start(29.0))
    assert not gpu.is_waiting


def test_nobody_waits_for_ever(say: Say) -> None:
    """Another program may keep it; and the next start waits anew."""
    say("echo 200")
    gpu = GpuMemoryCheck(LIMITS, used=True)
    assert not answered(gpu, 0.0)
    wait(lambda: gpu.may_start(31.0))
    assert gpu.is_waiting
    assert not gpu.may_start(32.0)
    assert not answered(gpu, 32.0)


@pytest.mark.parametrize("script", ["exit 9", "echo No devices were found; exit 6", "echo '[N/A]'"])
def test_a_tool_that_does_not_know_stops_nobody(say: Say, script: str) -> None:
    """No driver, no card, or one that does not tell."""
    say(script)
    gpu = GpuMemoryCheck(LIMITS, used=True)
    assert answered(gpu, 0.0)
    assert gpu.free is None


def test_a_tool_that_hangs_is_given_up(say: Say) -> None:
    """It does when the driver does."""
    say("exec sleep 600")
    gpu = GpuMemoryCheck(LIMITS, used=True)
    assert not gpu.may_start(0.0)
    assert not gpu.may_start(ANSWER_TIMEOUT - 1)
    assert gpu.may_start(ANSWER_TIMEOUT + 1)
    wait(lambda: gone(gpu))


def test_who_does_not_use_a_gpu_asks_nobody(say: Say) -> None:
    """Nor who has set the limit to 0."""
    say("echo 1")
    assert GpuMemoryCheck(LIMITS, used=False).may_start(0.0)
    assert GpuMemoryCheck(Limits(gpu_free=0), used=True).may_start(0.0)


def test_a_wait_that_ended_otherwise_does_not_count(say: Say) -> None:
    """A start that was given up: the next one waits for as long as any."""
    say("echo 200")
    gpu = GpuMemoryCheck(LIMITS, used=True)
    assert not answered(gpu, 0.0)
    say("exec sleep 600")
    assert not gpu.may_start(29.0)  # asks again
    gpu.cancel()
    wait(lambda: gone(gpu))
    say("echo 200")
    assert not gpu.is_waiting
    assert not answered(gpu, 100.0)
    assert not gpu.may_start(129.0)
    wait(lambda: gpu.may_start(131.0))


def test_a_start_that_nobody_wants_any_more(say: Say, tmp_path: Path) -> None:
    """What was asked for it is given up; the next start asks and waits anew."""
    say(f"touch {tmp_path}/asked; exec sleep 600")
    gpu = GpuMemoryCheck(LIMITS, used=True)
    assert not gpu.may_start(0.0)
    wait(lambda: (tmp_path / "asked").exists())
    gpu.cancel()
    wait(lambda: gone(gpu))
    assert not gpu.is_waiting
    say("echo 1000")
    assert answered(gpu, LIMITS.gpu_wait + 1)
    assert gpu.free == 1000.0

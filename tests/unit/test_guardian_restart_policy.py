"""When servers are started again, with how much, and when memory counts as growing."""

from __future__ import annotations

import pytest

from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.messages import event, heard, reason
from zimage_comfyui.guardian.restart_policy import Crashes, Growth, Mode
from zimage_comfyui.guardian.suspend_aware_clock import Awake

LIMITS = Limits()


def test_a_death_after_a_long_life_costs_no_time() -> None:
    """The next server starts at once, in the normal mode."""
    crashes = Crashes(LIMITS, gpu=True)
    assert [crashes.died(lived, 0.0) for lived in (60.0, 1e6)] == [0.0, 0.0]
    assert crashes.mode is Mode.NORMAL


def test_quick_deaths_in_a_row_wait_longer_and_start_less() -> None:
    """Twice as long each time; other packs go first, then the GPU."""
    crashes = Crashes(LIMITS, gpu=True)
    pauses, modes = [], []
    for _ in range(8):
        pauses.append(crashes.died(1.0, 0.0))
        modes.append(crashes.mode)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert modes == [Mode.NORMAL] * 2 + [Mode.SAFE] * 3 + [Mode.CPU] * 3


def test_a_night_of_failures() -> None:
    """However many there are, and whatever the limit is set to."""
    crashes = Crashes(Limits(failures=0), gpu=False)
    assert {crashes.died(0.0, 0.0) for _ in range(3000)} == {0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0}


def test_without_a_gpu_there_is_none_to_give_up() -> None:
    """Safe is the least there is."""
    crashes = Crashes(LIMITS, gpu=False)
    for _ in range(20):
        crashes.died(0.0, 0.0)
    assert crashes.mode is Mode.SAFE


def test_a_long_life_forgives() -> None:
    """Failures count in a row."""
    crashes = Crashes(LIMITS, gpu=False)
    for lived in (0.0, 0.0, 100.0, 0.0, 0.0):
        crashes.died(lived, 0.0)
    assert crashes.mode is Mode.NORMAL


def test_a_server_that_goes_on_forgives() -> None:
    """Deaths before it are not in a row with those after, also when it was replaced in order."""
    crashes = Crashes(LIMITS, gpu=False)
    for _ in range(2):
        crashes.died(0.0, 0.0)
    crashes.lives(LIMITS.quick - 1)
    assert crashes.failures == 2
    crashes.lives(LIMITS.quick)
    assert [crashes.died(1.0, 0.0) for _ in range(2)] == [0.5, 1.0]
    assert crashes.mode is Mode.NORMAL


def test_prompts_to_blame_count_half() -> None:
    """Two that each take two servers with them put nobody into safe mode; a third one does, and so
    does one death with each of six prompts."""
    crashes = Crashes(LIMITS, gpu=True)
    pauses, modes = [], []
    for _ in range(6):
        pauses.append(crashes.died(1.0, 0.0, prompt=True))
        modes.append(crashes.mode)
    assert pauses == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0]
    assert modes == [Mode.NORMAL] * 5 + [Mode.SAFE]


def test_a_gpu_that_keeps_failing_is_given_up() -> None:
    """However long each server has served, if the failures are not too far apart."""
    crashes = Crashes(LIMITS, gpu=True)
    for number in range(6):
        assert crashes.failed(number * LIMITS.quiet / 2) == 0.0
        crashes.lives(1e6)
    assert crashes.mode is Mode.NORMAL
    modes = []
    for number in range(6):
        crashes.failed(1e6 + number)
        modes.append(crashes.mode)
    assert modes == [Mode.NORMAL] * 2 + [Mode.SAFE] * 3 + [Mode.CPU]


def test_after_a_quiet_time_the_normal_mode_is_tried_again() -> None:
    """Until then there is less, also for a guardian that has found a server with less."""
    crashes = Crashes(LIMITS, gpu=False)
    assert crashes.recovered(0.0)
    for _ in range(3):
        crashes.died(0.0, 100.0)
    assert not crashes.recovered(100.0 + LIMITS.quiet - 1)
    assert crashes.recovered(100.0 + LIMITS.quiet)
    assert crashes.mode is Mode.NORMAL
    for mode, expected in ((Mode.SAFE, Mode.SAFE), (Mode.CPU, Mode.SAFE)):  # there is no GPU
        crashes.found(mode, 1000.0)
        assert crashes.mode is expected
        assert not crashes.recovered(1000.0 + LIMITS.quiet - 1)
    assert crashes.recovered(1000.0 + LIMITS.quiet)


@pytest.mark.parametrize(
    ("per_minute", "minutes", "grows"), [(50.0, 10, True), (30.0, 60, False), (-50.0, 10, False)]
)
def test_growth_is_what_is_gained_within_the_time(
    per_minute: float, minutes: int, grows: bool
) -> None:
    """250 MiB in five minutes is too much, 150 MiB is not, however long it goes on."""
    growth = Growth(LIMITS)
    found = [
        growth.reason(10.0 * number, 5000 + per_minute * number / 6, ["A"])
        for number in range(6 * minutes + 1)
    ]
    assert any(found) is grows


@pytest.mark.parametrize(
    ("amounts", "grows"),
    [
        ([1000, 5000, 5000, 5150], False),  # a model that a node loads and keeps
        ([1000, 5000, 5150, 5300], True),
        ([1000, 1300, 1000, 1300], False),
        ([5000, 1000, 1150, 1100, 1250, 1390], True),
    ],
)
def test_growth_goes_on(amounts: list[float], grows: bool) -> None:
    """The largest step is left out, and what was given back."""
    growth = Growth(LIMITS)
    found = [growth.reason(10.0 * number, mib, []) for number, mib in enumerate(amounts)]
    assert not any(found[:-1])
    assert bool(found[-1]) is grows


def test_only_readings_with_the_same_models_are_compared() -> None:
    """Also where models take turns."""
    growth = Growth(LIMITS)
    found = [
        growth.reason(10.0 * number, mib, models)
        for number, (mib, models) in enumerate(
            [(1000, []), (9000, ["A"]), (1110, []), (9150, ["A"]), (1220, []), (9290, ["A"])]
        )
    ]
    assert found == [None] * 6
    assert growth.reason(60.0, 9380.0, ["A"]) == reason("growth", 380.0, 50.0)


def test_a_pause_of_the_guardian_is_no_time() -> None:
    """It has not looked for longer than it ever lets pass, so the servers have stood still, too."""
    times = iter([10.0, 10.0, 14.0, 1000.0, 1001.0])
    clock = Awake(lambda: next(times))
    assert [clock() for _ in range(4)] == [10.0, 14.0, 14.0, 15.0]


def test_what_a_server_gives_as_its_reason_is_told_in_one_language_at_a_time() -> None:
    """The page's panel shows one side of each line."""
    both = event("kill", heard("任务 p1 不理会中断 / p1 does not react to an interrupt"))
    assert str(both).split(" / ") == [
        "将被终止：任务 p1 不理会中断", "to be killed: p1 does not react to an interrupt",
    ]  # fmt: skip
    assert heard("CUDA error: x") == "CUDA error: x"

"""When servers are started again, with how much, and when memory counts as growing."""

from __future__ import annotations

import pytest

from zimage_comfyui.guardian.awake import Awake
from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.policy import Crashes, Growth, Mode
from zimage_comfyui.guardian.texts import reason

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
        growth.reason(60.0 * minute, 5000 + per_minute * minute, True, ["A"])
        for minute in range(minutes + 1)
    ]
    assert any(found) is grows


def test_only_comparable_moments_count() -> None:
    """Not while something runs, and not across a change of the loaded models."""
    growth = Growth(LIMITS)
    assert growth.reason(0.0, 1000.0, True, []) is None
    assert growth.reason(1.0, 9000.0, False, []) is None
    assert growth.reason(2.0, 9000.0, True, ["A"]) is None
    assert growth.reason(3.0, 9300.0, True, ["A"]) == reason("growth", 300.0, 1.0)


def test_a_ceiling_holds_at_any_moment() -> None:
    """Also while something runs."""
    growth = Growth(Limits(ceiling=4000))
    assert growth.reason(0.0, 4000.0, False, []) is None
    assert growth.reason(0.0, 4001.0, False, []) == reason("ceiling", 4001.0, 4000.0)


def test_a_pause_of_the_guardian_is_no_time() -> None:
    """It has not looked for longer than it ever lets pass, so the servers have stood still, too."""
    times = iter([10.0, 10.0, 14.0, 1000.0, 1001.0])
    clock = Awake(lambda: next(times))
    assert [clock() for _ in range(4)] == [10.0, 14.0, 14.0, 15.0]

"""The pause before the next start, and its mode."""

from __future__ import annotations

from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.mode import Mode
from zimage_comfyui.guardian.restart_policy import RestartPolicy

LIMITS = Limits()


def test_a_death_after_a_long_life_costs_no_time() -> None:
    """The next server starts at once, in the normal mode."""
    crashes = RestartPolicy(LIMITS, gpu=True)
    assert [crashes.record_crash(lived, 0.0) for lived in (60.0, 1e6)] == [0.0, 0.0]
    assert crashes.mode is Mode.NORMAL


def test_quick_deaths_in_a_row_wait_longer_and_start_less() -> None:
    """Twice as long each time; other packs go first, then the GPU."""
    crashes = RestartPolicy(LIMITS, gpu=True)
    pauses, modes = [], []
    for _ in range(8):
        pauses.append(crashes.record_crash(1.0, 0.0))
        modes.append(crashes.mode)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert modes == [Mode.NORMAL] * 2 + [Mode.SAFE] * 3 + [Mode.CPU] * 3


def test_a_night_of_failures() -> None:
    """However many there are, and whatever the limit is set to."""
    crashes = RestartPolicy(Limits(failures=0), gpu=False)
    assert {crashes.record_crash(0.0, 0.0) for _ in range(3000)} == {
        0.5,
        1.0,
        2.0,
        4.0,
        8.0,
        16.0,
        30.0,
    }


def test_without_a_gpu_there_is_none_to_give_up() -> None:
    """Safe is the least there is."""
    crashes = RestartPolicy(LIMITS, gpu=False)
    for _ in range(20):
        crashes.record_crash(0.0, 0.0)
    assert crashes.mode is Mode.SAFE


def test_a_long_life_forgives() -> None:
    """Failures count in a row."""
    crashes = RestartPolicy(LIMITS, gpu=False)
    for lived in (0.0, 0.0, 100.0, 0.0, 0.0):
        crashes.record_crash(lived, 0.0)
    assert crashes.mode is Mode.NORMAL


def test_a_server_that_goes_on_forgives() -> None:
    """Deaths before it are not in a row with those after, also when it was replaced in order."""
    crashes = RestartPolicy(LIMITS, gpu=False)
    for _ in range(2):
        crashes.record_crash(0.0, 0.0)
    crashes.record_uptime(LIMITS.quick - 1)
    assert crashes.failures == 2
    crashes.record_uptime(LIMITS.quick)
    assert [crashes.record_crash(1.0, 0.0) for _ in range(2)] == [0.5, 1.0]
    assert crashes.mode is Mode.NORMAL


def test_prompts_to_blame_count_half() -> None:
    """Two that each take two servers with them put nobody into safe mode; a third one does, and so
    does one death with each of six prompts."""
    crashes = RestartPolicy(LIMITS, gpu=True)
    pauses, modes = [], []
    for _ in range(6):
        pauses.append(crashes.record_crash(1.0, 0.0, during_prompt=True))
        modes.append(crashes.mode)
    assert pauses == [0.5, 0.5, 1.0, 1.0, 2.0, 2.0]
    assert modes == [Mode.NORMAL] * 5 + [Mode.SAFE]


def test_a_gpu_that_keeps_failing_is_given_up() -> None:
    """However long each server has served, if the failures are not too far apart."""
    crashes = RestartPolicy(LIMITS, gpu=True)
    for number in range(6):
        assert crashes.record_gpu_failure(number * LIMITS.quiet / 2) == 0.0
        crashes.record_uptime(1e6)
    assert crashes.mode is Mode.NORMAL
    modes = []
    for number in range(6):
        crashes.record_gpu_failure(1e6 + number)
        modes.append(crashes.mode)
    assert modes == [Mode.NORMAL] * 2 + [Mode.SAFE] * 3 + [Mode.CPU]


def test_after_a_quiet_time_the_normal_mode_is_tried_again() -> None:
    """Until then there is less, also for a guardian that has found a server with less."""
    crashes = RestartPolicy(LIMITS, gpu=False)
    assert crashes.recover(0.0)
    for _ in range(3):
        crashes.record_crash(0.0, 100.0)
    assert not crashes.recover(100.0 + LIMITS.quiet - 1)
    assert crashes.recover(100.0 + LIMITS.quiet)
    assert crashes.mode is Mode.NORMAL
    for mode, expected in ((Mode.SAFE, Mode.SAFE), (Mode.CPU, Mode.SAFE)):  # there is no GPU
        crashes.adopt_mode(mode, 1000.0)
        assert crashes.mode is expected
        assert not crashes.recover(1000.0 + LIMITS.quiet - 1)
    assert crashes.recover(1000.0 + LIMITS.quiet)

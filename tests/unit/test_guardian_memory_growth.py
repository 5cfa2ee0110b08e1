"""When the memory of an idle server counts as growing."""

from __future__ import annotations

import pytest

from zimage_comfyui.guardian.limits import Limits
from zimage_comfyui.guardian.memory_growth import MemoryGrowth
from zimage_comfyui.guardian.messages import reason_text

LIMITS = Limits()


@pytest.mark.parametrize(
    ("per_minute", "minutes", "grows"), [(50.0, 10, True), (30.0, 60, False), (-50.0, 10, False)]
)
def test_growth_is_what_is_gained_within_the_time(
    per_minute: float, minutes: int, grows: bool
) -> None:
    """250 MiB in five minutes is too much, 150 MiB is not, however long it goes on."""
    growth = MemoryGrowth(LIMITS)
    found = [
        growth.add_reading(10.0 * number, 5000 + per_minute * number / 6, ["A"])
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
    growth = MemoryGrowth(LIMITS)
    found = [growth.add_reading(10.0 * number, mib, []) for number, mib in enumerate(amounts)]
    assert not any(found[:-1])
    assert bool(found[-1]) is grows


def test_only_readings_with_the_same_models_are_compared() -> None:
    """Also where models take turns."""
    growth = MemoryGrowth(LIMITS)
    found = [
        growth.add_reading(10.0 * number, mib, models)
        for number, (mib, models) in enumerate(
            [(1000, []), (9000, ["A"]), (1110, []), (9150, ["A"]), (1220, []), (9290, ["A"])]
        )
    ]
    assert found == [None] * 6
    expected = reason_text("growth", mib=380.0, seconds=50.0)
    assert growth.add_reading(60.0, 9380.0, ["A"]) == expected


def test_the_time_of_the_growth_begins_with_the_lowest_reading() -> None:
    """The time before that has no part in the growth."""
    growth = MemoryGrowth(LIMITS)
    for number, mib in enumerate([5000, 1000, 1150, 1100, 1250]):
        assert growth.add_reading(10.0 * number, mib, []) is None
    expected = reason_text("growth", mib=390.0, seconds=40.0)
    assert growth.add_reading(50.0, 1390, []) == expected


def test_readings_of_models_that_are_not_seen_any_more_are_dropped() -> None:
    """A server that loads ever new models does not fill the guardian's memory."""
    growth = MemoryGrowth(LIMITS)
    for number in range(1000):
        growth.add_reading(10.0 * number, 5000, [f"model {number}"])
    assert len(growth._readings) == LIMITS.growth_time / 10 + 1

"""The clock leaves out suspensions."""

from __future__ import annotations

from zimage_comfyui.guardian.suspend_aware_clock import SuspendAwareClock


def test_a_pause_of_the_guardian_is_no_time() -> None:
    """It has not looked for longer than it ever lets pass, so the servers have stood still, too."""
    times = iter([10.0, 10.0, 14.0, 1000.0, 1001.0])
    clock = SuspendAwareClock(lambda: next(times))
    assert [clock() for _ in range(4)] == [10.0, 14.0, 14.0, 15.0]

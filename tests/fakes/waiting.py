"""Waiting for what other processes do: on conditions, with a limit only for what never comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

POLL = 0.05
"""Seconds between two looks."""


def wait(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """What a condition gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(POLL)
    return found

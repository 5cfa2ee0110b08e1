"""Detection of memory growth from prompt to prompt, by readings of an idle server."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from ..errors.bilingual import Bilingual
from .limits import Limits
from .messages import reason_text


class MemoryGrowth:
    """Resident memory of one idle server over time.

    Readings older than the limit's time are dropped, also those with other models.
    """

    def __init__(self, limits: Limits) -> None:
        """Start without readings.

        Args:
            limits: the growth that is allowed, and in which time.
        """
        self.limits = limits
        self._readings: dict[str, deque[tuple[float, float]]] = {}

    def add_reading(self, now: float, mib: float, models: object) -> Bilingual | None:
        """Add a reading and return a reason to replace the server, or None.

        The largest step between two readings is not counted: a node may load something once and
        keep it.

        Args:
            now: monotonic time in seconds.
            mib: resident memory.
            models: the loaded models; only readings with the same models are compared.
        """
        oldest = now - self.limits.growth_time
        self._readings = {
            key: readings for key, readings in self._readings.items() if readings[-1][0] >= oldest
        }
        readings = self._readings.setdefault(str(models), deque())
        readings.append((now, mib))
        while readings[0][0] < oldest:
            readings.popleft()
        amounts = [amount for _, amount in readings]
        since_lowest = list(readings)[amounts.index(min(amounts)) :]
        start, lowest = since_lowest[0]
        growth = mib - lowest
        steps = (after - before for (_, before), (_, after) in pairwise(since_lowest))
        largest_step = max(steps, default=0.0)
        if growth - max(largest_step, 0.0) > self.limits.growth:
            return reason_text("growth", mib=growth, seconds=now - start)
        return None

"""Decides by its heartbeats whether the active server is to be replaced."""

from __future__ import annotations

from ..errors.bilingual import Bilingual
from .heartbeat import Heartbeat, MemoryReading
from .limits import Limits
from .messages import reason_text
from .server import Server, State

GROWTH_REPLACEMENT_INTERVAL = 6
"""The shortest time between two replacements for growth, in units of ``Limits.growth_time``. If the
growth comes back earlier, a replacement does not help."""


class ReplacementPolicy:
    """Judges age and memory of the active server."""

    def __init__(self, limits: Limits) -> None:
        """Allow a replacement for growth from the start.

        Args:
            limits: how old and how large a server may become.
        """
        self.limits = limits
        self._next_for_growth = 0.0

    def record_heartbeat(
        self, server: Server, heartbeat: Heartbeat, now: float
    ) -> Bilingual | None:
        """Record a heartbeat and return a reason to replace the server, or None.

        The server counts as idle when it runs no prompt in this heartbeat and in the one before.

        Args:
            server: the server that sent it.
            heartbeat: the heartbeat.
            now: monotonic time.
        """
        previous = server.heartbeat
        server.record_heartbeat(heartbeat)
        if server.state is not State.ACTIVE or server.end_reason:
            return None
        idle = not heartbeat.busy and not (previous and previous.busy)
        memory_reason = None
        if heartbeat.after_prompt and heartbeat.after_prompt != (
            previous.after_prompt if previous else None
        ):
            memory_reason = self._judge_memory(server, heartbeat.after_prompt, now)
        elif idle:
            memory_reason = self._judge_memory(server, heartbeat.memory, now)
        age = now - server.state_since
        if self.limits.age and idle and age > self.limits.age:
            return reason_text("age", seconds=age)
        return memory_reason

    def _judge_memory(self, server: Server, memory: MemoryReading, now: float) -> Bilingual | None:
        """Judge the memory of an idle server.

        The memory of a running prompt is not judged: the prompt would run again in the next server
        and need as much. A new server may run for a while even if it is large from the start.
        """
        mib = memory.resident
        growth_reason = server.growth.add_reading(now, mib, memory.models)
        if now - server.state_since < self.limits.quick:
            return None
        if self.limits.ceiling and mib > self.limits.ceiling:
            return reason_text("ceiling", mib=mib, limit=self.limits.ceiling)
        if growth_reason is None or now < self._next_for_growth:
            return None
        self._next_for_growth = now + GROWTH_REPLACEMENT_INTERVAL * self.limits.growth_time
        return growth_reason

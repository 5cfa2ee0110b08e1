"""Limits of servers. Every time is in seconds, every size in MiB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

POSITIVE = frozenset({"start", "silence", "probes"})
"""Limits that have to be more than 0."""


@dataclass(frozen=True)
class Limits:
    """What a server may do before the guardian replaces it.

    Attributes:
        start: the longest start, until the server is ready; the first import of torch can take
            minutes.
        silence: the longest time without a heartbeat, or with a blocked event loop.
        probes: the interval between requests for ``/health/live``, and their timeout.
        grace: the time for the running prompt when a server stops in order.
        growth: resident memory that a server may gain within ``growth_time`` while it is idle. Its
            largest step is not counted, and only readings with the same models are compared.
        growth_time: see ``growth``.
        ceiling: the most resident memory of an idle server; 0 for no limit.
        age: the longest life of a server; 0 for no limit.
        quick: a server that crashes earlier than this after it became active failed to start.
        failures: quick crashes in a row, or failures of the GPU within ``quiet``, that lead to a
            degraded mode (:class:`.mode.Mode`).
        longest_pause: the longest pause between two starts.
        quiet: the time without a crash after which a degraded mode ends.
        gpu_free: the memory that has to be free on a GPU before a server starts; 0 for any.
        gpu_wait: the longest wait for that memory.
    """

    start: float = 900
    silence: float = 60
    probes: float = 30
    grace: float = 60
    growth: float = 200
    growth_time: float = 300
    ceiling: float = 0
    age: float = 0
    quick: float = 60
    failures: float = 3
    longest_pause: float = 30
    quiet: float = 600
    gpu_free: float = 1024
    gpu_wait: float = 30

    @classmethod
    def with_changes(cls, changes: Mapping[str, float]) -> Limits:
        """Return the defaults but for some changes; :meth:`unusable` ones are left out."""
        unusable = cls.unusable(changes)
        return cls(**{name: value for name, value in changes.items() if name not in unusable})

    @classmethod
    def unusable(cls, changes: Mapping[str, float]) -> dict[str, float]:
        """Return changes with an unknown name, or with a 0 that would end every server at once."""
        known = {field.name for field in fields(cls)}
        return {
            name: value
            for name, value in changes.items()
            if name not in known or (name in POSITIVE and not value)
        }

"""When the guardian acts. Every time is in seconds, every size in MiB."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

POSITIVE = frozenset({"start", "silence", "probes"})
"""Limits that have to be more than 0."""


@dataclass(frozen=True)
class Limits:
    """What a server may do before it is replaced.

    Attributes:
        start: from its start until it is ready; the first import of torch can take minutes.
        silence: without a sign of its event loop, or of the thread that gives these signs.
        probes: how often ``/health/live`` is asked, and how long it may take.
        grace: for the running prompt when the server is to end in order.
        growth, growth_time: resident memory that may be gained in that time between moments in
            which nothing runs (or a prompt has given back its memory) and the same models are
            loaded, beside the largest step.
        ceiling: resident memory at such a moment; 0 for none.
        age: of a server; 0 for any.
        quick: a server that dies sooner than this after its start has failed to start.
        failures: quick deaths in a row, or failures of the GPU within ``quiet``, after which less
            is started (:class:`Mode`).
        longest_pause: between two starts.
        quiet: without a death before more is started again.
        gpu_free, gpu_wait: what has to be free on a GPU before a server is started (0: whatever
            there is), and for how long that is waited for.
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
        known = {one.name for one in fields(cls)}
        return {
            name: value
            for name, value in changes.items()
            if name not in known or (name in POSITIVE and not value)
        }

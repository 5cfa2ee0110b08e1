"""The outcome of each mechanism of confinement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["applied", "unavailable", "failed"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one mechanism.

    Attributes:
        state: ``unavailable`` if this machine does not have it, ``failed`` if it has.
        reason: what was done, or why it was not done.
        gaps: what is not enforced; an applied mechanism can have gaps too.
    """

    state: State
    reason: str
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConfinementReport:
    """The outcomes of all mechanisms, in the order in which they were applied."""

    mechanisms: Mapping[str, Outcome]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of mechanisms that are not in force."""
        outcomes = self.mechanisms.items()
        return tuple(name for name, outcome in outcomes if outcome.state != "applied")

    def describe(self) -> dict[str, dict[str, str]]:
        """Return ``state``, ``reason`` and ``gaps`` of each, for JSON."""
        return {
            name: {
                "state": outcome.state,
                "reason": outcome.reason,
                "gaps": "; ".join(outcome.gaps),
            }
            for name, outcome in self.mechanisms.items()
        }


def failure(error: OSError, what: str, *gaps: str) -> Outcome:
    """Return the outcome of a call that the kernel refused."""
    reason = f"{what}: {error.strerror or error}"
    return Outcome("unavailable" if error.errno in _ABSENT else "failed", reason, gaps)


_ABSENT = {38, 95}  # ENOSYS, EOPNOTSUPP

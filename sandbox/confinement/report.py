"""What became of each mechanism."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["applied", "unavailable", "failed"]


@dataclass(frozen=True)
class Outcome:
    """One mechanism.

    Attributes:
        state: ``unavailable`` when this machine does not have it, ``failed`` when it has.
        reason: what was done, or why it was not.
        gaps: what is therefore not enforced; an applied mechanism can have some.
    """

    state: State
    reason: str
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All mechanisms, in the order in which they were tried."""

    mechanisms: Mapping[str, Outcome]

    @property
    def missing(self) -> tuple[str, ...]:
        """Mechanisms that are not in force."""
        return tuple(name for name, one in self.mechanisms.items() if one.state != "applied")

    def describe(self) -> dict[str, dict[str, str]]:
        """For JSON: ``state``, ``reason`` and ``gaps`` of each."""
        return {
            name: {"state": one.state, "reason": one.reason, "gaps": "; ".join(one.gaps)}
            for name, one in self.mechanisms.items()
        }


def failure(error: OSError, what: str, *gaps: str) -> Outcome:
    """The outcome of a call that the kernel refused."""
    reason = f"{what}: {error.strerror or error}"
    return Outcome("unavailable" if error.errno in _ABSENT else "failed", reason, gaps)


_ABSENT = {38, 95}  # ENOSYS, EOPNOTSUPP

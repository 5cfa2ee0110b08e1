"""Metrics in Prometheus' text format 0.0.4."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "zimage_"
Samples = Mapping[str, float]
"""Values by what follows the metric's name: labels in braces, ``_sum``, or nothing."""


@dataclass(frozen=True)
class Family:
    """A metric with all its samples.

    Attributes:
        name: without :data:`PREFIX`.
        kind: ``gauge``, ``counter`` or ``summary``.
        help: one sentence.
        samples: see :data:`Samples`.
    """

    name: str
    kind: str
    help: str
    samples: Samples

    @classmethod
    def of(cls, name: str, kind: str, help: str, value: float) -> Family:
        """Return a metric with a single sample."""
        return cls(name, kind, help, {"": value})

    def text(self) -> str:
        """Return the lines of the metric."""
        name = PREFIX + self.name
        samples = "".join(f"{name}{key} {value + 0}\n" for key, value in self.samples.items())
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.kind}\n{samples}"


def label(name: str, value: str) -> str:
    """Return one label in braces, with its value escaped."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{{name}="{escaped}"}}'

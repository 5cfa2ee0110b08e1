"""The heartbeat of a server, once a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True)
class MemoryReading:
    """Resident memory of a server while it runs no prompt.

    Attributes:
        resident: MiB.
        models: the loaded models.
        prompts: how many prompts had ended.
    """

    resident: float
    models: str
    prompts: float


@dataclass(frozen=True)
class Heartbeat:
    """What a server tells of itself.

    Attributes:
        loop_blocked: seconds for which its event loop has not responded.
        busy: whether prompts run or wait.
        memory: its memory now.
        after_prompt: its memory when it was last freed after a prompt; None before the first.
        worker_ended: whether the thread that runs prompts has ended.
    """

    loop_blocked: float
    busy: bool
    memory: MemoryReading
    after_prompt: MemoryReading | None
    worker_ended: bool

    @classmethod
    def from_message(cls, message: object) -> Heartbeat | None:
        """Return the heartbeat in a message.

        Args:
            message: ``{"loop", "resident", "running", "waiting", "models", "worker", "rest"}``.
                ``worker`` is null while it is not known. ``rest`` is null or ``{"prompts",
                "resident", "models"}``. A missing value, or one of another type, counts as zero.

        Returns:
            None when the message is no object.
        """
        if not isinstance(message, dict):
            return None
        fields = cast("dict[str, object]", message)
        rest = fields.get("rest")
        return cls(
            loop_blocked=_number(fields, "loop"),
            busy=bool(fields.get("running") or fields.get("waiting")),
            memory=_memory(fields),
            after_prompt=(
                _memory(cast("dict[str, object]", rest))
                if rest and isinstance(rest, dict)
                else None
            ),
            worker_ended=fields.get("worker") is False,
        )


def _memory(fields: Mapping[str, object]) -> MemoryReading:
    return MemoryReading(
        resident=_number(fields, "resident"),
        models=str(fields.get("models")),
        prompts=_number(fields, "prompts"),
    )


def _number(fields: Mapping[str, object], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0

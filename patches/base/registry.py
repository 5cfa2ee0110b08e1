"""The parts of the hardening in the order in which they are applied, and the state of each.

A part that does not fit the host, or that fails, is reported once in the log and in ``/health``.
The host and the other parts stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import ZImageError

log = logging.getLogger(__name__)

EARLY = {
    "worker": "queue.worker_thread",
    "results": "queue.node_results",
    "memory": "memory.prompt_memory",
    "swap": "memory.model_swap",
    "residency": "memory.idle_unload",
    "tokenizer": "memory.tokenizer_cache",
    "leftovers": "queue.leftovers",
    "sockets": "requests.websocket_outbox",
    "reconnect": "requests.reconnect",
    "origins": "requests.origins",
    "malformed": "requests.malformed",
    "paths": "requests.paths",
    "pictures": "requests.image_limits",
    "history": "requests.history_stream",
    "guarded": "guardian_client.guarded",
}
"""Parts that are applied while packs load, and the module of each, which has ``create``."""
SHARED = {
    "queue": "queue.queue_installer",
    "disk": "disk.disk_guard",
    "deadline": "queue.deadline",
    "logs": "monitoring.prompt_log",
    "fuse": "requests.fuse",
    "interrupt": "queue.interrupt",
}
"""Parts that use files which servers share (queue, output, logs).

Under a guardian they are applied when it activates this server.
"""
MODULES = EARLY | SHARED
NAMES = tuple(MODULES)


@dataclass(frozen=True)
class About:
    """What a part is for: one row of the table of parts in the documentation.

    Each part's module has one as ``ABOUT``.

    Attributes:
        part: its name in ``ZIMAGE_OFF`` and ``/health``.
        bare_host: what happens on ComfyUI without it.
        here: what happens with it.
    """

    part: str
    bare_host: str
    here: str


class Part(Protocol):
    """One part of the hardening.

    A part may also have ``reasons()`` why a prompt would not run now, ``details()`` for
    ``/health``, and ``settle()``, which writes pending data before the process ends.
    """

    @property
    def active(self) -> bool:
        """True while the part does its work."""
        ...

    def apply(self) -> None:
        """Start; a second call has no effect.

        Raises:
            ZImageError: the host does not fit; nothing was changed.
        """
        ...

    def revert(self) -> None:
        """Put everything back.

        Raises:
            ZImageError: that is not possible anymore.
        """
        ...


@dataclass
class State:
    """State of a part: ``active``, ``off``, ``refused`` (the host does not fit) or ``failed``."""

    name: str
    status: str
    code: str = ""
    chinese: str = ""
    english: str = ""
    part: Part | None = None

    def describe(self) -> dict[str, Any]:
        """Return the state for ``/health`` and ``doctor``."""
        status = self.status
        if status == "active" and self.part is not None and not self.part.active:
            status = "covered"  # another pack has replaced the same function since
        error = {"code": self.code, "zh": self.chinese, "en": self.english} if self.code else {}
        return {"status": status, **error, **getattr(self.part, "details", dict)()}


class Registry:
    """The parts of one server."""

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self.states = {name: State(name, "off") for name in names}

    def apply(
        self,
        off: Collection[str],
        create: Callable[[str], Part],
        names: Collection[str] | None = None,
    ) -> dict[str, State]:
        """Apply parts in order and return the states.

        Args:
            off: parts that are switched off.
            create: creates a part by its name.
            names: the parts to apply; all without it.
        """
        for name, state in self.states.items():
            if names is not None and name not in names:
                continue
            if name in off:
                log.info("Z-Image: hardening %s is switched off", name)
                continue
            try:
                part = state.part or create(name)
                part.apply()
            except ZImageError as error:
                log.warning("Z-Image: hardening %s: %s", name, error)
                self.states[name] = _error_state(name, "refused", error)
            except Exception as error:
                log.exception("Z-Image: hardening %s failed", name)
                failed = ZImageError("ZI-PATCH-FAILED", name=name, found=type(error).__name__)
                self.states[name] = _error_state(name, "failed", failed)
            else:
                self.states[name] = State(name, "active", part=part)
        return self.states

    def revert(self) -> None:
        """Revert every part, the last first."""
        for name, state in reversed(list(self.states.items())):
            if state.part is not None:
                state.part.revert()
                self.states[name] = State(name, "off", part=state.part)

    def settle(self) -> None:
        """Have every part write its pending data, because the process is about to end."""
        for name, state in self.states.items():
            try:
                getattr(state.part, "settle", list)()
            except Exception:
                log.exception("Z-Image: hardening %s has not written its pending data", name)

    def reasons(self) -> list[str]:
        """Return why a prompt would not run now, or would not be durable."""
        parts = [state.part for state in self.states.values()]
        reasons = [reason for part in parts for reason in getattr(part, "reasons", list)()]
        return [*reasons, "queue"] if "queue" in self.missing() else reasons

    def missing(self) -> list[str]:
        """Return the parts that do not work although nobody has switched them off."""
        return [
            name for name, state in self.states.items() if state.status in {"refused", "failed"}
        ]

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return the state of every part by name."""
        return {name: state.describe() for name, state in self.states.items()}


def _error_state(name: str, status: str, error: ZImageError) -> State:
    return State(name, status, error.code, error.chinese, error.english)

"""Which hardening there is, in the order in which it is applied, and how each fared.

A part that does not fit this host, or fails, is told once in the log and in ``/health`` and leaves
the host and the other parts as they are.
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
"""Parts that are applied while packs load, and the module of each; it has ``create()``."""
SHARED = {
    "queue": "queue.queue_installer",
    "disk": "disk.disk_guard",
    "deadline": "queue.deadline",
    "logs": "monitoring.prompt_log",
    "fuse": "requests.fuse",
    "interrupt": "queue.interrupt",
}
"""Those that touch what processes share (queue, output, logs): under a guardian they are applied
when this server is told to go. The fuse comes after all that refuse: it answers for them. What
sees requests and refuses none is behind it."""
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
    """One hardening. Applying twice is applying once.

    It may have ``reasons()``, why a prompt would not run now, and ``details()`` for ``/health``.
    """

    @property
    def active(self) -> bool:
        """True while it does its work."""
        ...

    def apply(self) -> None:
        """Begin; raises :class:`ZImageError` and changes nothing where the host does not fit."""
        ...

    def revert(self) -> None:
        """Undo; raises :class:`ZImageError` where that is not possible any more."""
        ...


@dataclass
class State:
    """How a part fared: ``active``, ``off``, ``refused`` (the host does not fit) or ``failed``."""

    name: str
    status: str
    code: str = ""
    chinese: str = ""
    english: str = ""
    part: Part | None = None

    def describe(self) -> dict[str, Any]:
        """For ``/health`` and ``doctor``."""
        status = self.status
        if status == "active" and self.part is not None and not self.part.active:
            status = "covered"  # by somebody who patched the same place later
        about = {"code": self.code, "zh": self.chinese, "en": self.english} if self.code else {}
        return {"status": status, **about, **getattr(self.part, "details", dict)()}


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
        """Apply every part (of ``names``) that is not switched off, in order."""
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
                told = (error.code, error.chinese, error.english)
                self.states[name] = State(name, "refused", *told)
            except Exception as error:
                log.exception("Z-Image: hardening %s failed", name)
                failed = ZImageError("ZI-PATCH-FAILED", name=name, found=type(error).__name__)
                told = (failed.code, failed.chinese, failed.english)
                self.states[name] = State(name, "failed", *told)
            else:
                self.states[name] = State(name, "active", part=part)
        return self.states

    def revert(self) -> None:
        """Undo every part, the last first."""
        for name, state in reversed(list(self.states.items())):
            if state.part is not None:
                state.part.revert()
                self.states[name] = State(name, "off", part=state.part)

    def settle(self) -> None:
        """The process is about to end: what a part has yet to write is written."""
        for name, state in self.states.items():
            try:
                getattr(state.part, "settle", list)()
            except Exception:
                log.exception("Z-Image: hardening %s has not written its last", name)

    def reasons(self) -> list[str]:
        """Why a prompt would not run now, as far as the parts know, or would not be kept."""
        parts = [state.part for state in self.states.values()]
        found = [reason for part in parts for reason in getattr(part, "reasons", list)()]
        queue = self.states.get("queue")
        lost = queue is not None and queue.status in {"refused", "failed"}
        return [*found, *(["queue"] if lost else [])]

    def missing(self) -> list[str]:
        """Names of the parts that nobody has switched off and that do not work all the same."""
        return [
            name for name, state in self.states.items() if state.status in {"refused", "failed"}
        ]

    def describe(self) -> dict[str, dict[str, Any]]:
        """Every part's state by name."""
        return {name: state.describe() for name, state in self.states.items()}

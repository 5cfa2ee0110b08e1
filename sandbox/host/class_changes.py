"""Node classes that a pack has gained or lost since ComfyUI loaded it: they need a restart."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...errors import ZImageError
from ..protocol.exceptions import WorkerDied, WorkerRaised
from .description_limits import LONGEST_TEXT
from .log_capture import clean

if TYPE_CHECKING:
    from ..protocol import messages as m
    from .session import WorkerSession

log = logging.getLogger(__name__)

MAX_NAMED = 12


class ClassChanges:
    """Compares a pack's new processes with what ComfyUI has loaded.

    Args:
        name: of the pack.
        loaded: its description when ComfyUI loaded it.
        digest: of the pack's files, as they are now.
        before: that digest when ComfyUI loaded it.
        describe: asks a worker for a description.

    Attributes:
        nodes: names of node classes that were added or removed, sorted.
    """

    def __init__(
        self,
        name: str,
        loaded: m.PackInfo,
        digest: Callable[[], str],
        before: str,
        describe: Callable[[WorkerSession], m.PackInfo],
    ) -> None:
        self.name = name
        self.nodes: list[str] = []
        self._names = {node.name for node in loaded.nodes}
        self._digest = digest
        self._before = before
        self._describe = describe

    def started(self, session: WorkerSession) -> None:
        """Compare in the background: reading files and importing the pack take time."""
        threading.Thread(
            target=self.compare, args=(session,), name="zimage-changes", daemon=True
        ).start()

    def compare(self, session: WorkerSession) -> None:
        """Ask the worker for its node classes, if the pack's files have changed."""
        try:
            if self._digest() == self._before:
                self.nodes = []
                return
            described = self._describe(session)
        except (WorkerDied, WorkerRaised, ZImageError, TimeoutError, OSError) as error:
            log.warning("Z-Image: %s: %s", self.name, error)
            return
        if described.loaded:  # else the calls of its nodes say what is wrong
            self.nodes = sorted(self._names ^ {node.name for node in described.nodes})

    def waiting(self) -> list[str]:
        """Return what needs a restart of ComfyUI, as ``packs.NAME.nodes.CLASS``."""
        names = [clean(node)[:LONGEST_TEXT] for node in self.nodes[:MAX_NAMED]]
        names += ["…"] if len(self.nodes) > MAX_NAMED else []
        return [f"packs.{self.name}.nodes.{node}" for node in names]

"""``sandbox.toml`` read again: what a pack may do holds from its next process on."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

from ...errors import ZImageError
from .policy import Policy, Rule, read

log = logging.getLogger(__name__)


class Rules:
    """The rules of packs, as new as the file.

    Where packs run (``mode``, ``run``) was decided when ComfyUI loaded them and stays.

    Args:
        path: of ``sandbox.toml``.
        policy: what was read when ComfyUI started.
    """

    def __init__(self, path: Path, policy: Policy) -> None:
        self.path, self.policy = path, policy
        self.began = policy
        self.mode = policy.mode
        found = read(path).mode  # the environment can say otherwise, and goes on to do so
        self._overridden = policy.trouble is None and found != policy.mode
        self.trouble = policy.trouble
        self._seen = _stamp(path)
        self._lock = threading.Lock()

    def rule(self, name: str) -> Rule:
        """What holds for a pack that starts now."""
        with self._lock:
            if _stamp(self.path) != self._seen:
                self._read()
            return self.policy.rule(name)

    def reload(self) -> None:
        """Read the file now.

        Raises:
            ZImageError: ``ZI-SANDBOX-RELOAD``; the rules from before hold on.
        """
        with self._lock:
            self._read()
            if self.trouble is not None:
                raise self.trouble

    def waiting(self) -> list[str]:
        """What the file says by now that holds only when ComfyUI starts again."""
        old, new = self.began, self.policy
        names = sorted({*old.packs, *new.packs})
        found = [name for name in names if old.rule(name).run != new.rule(name).run]
        default = ["default.run"] if old.default.run != new.default.run else []
        mode = ["mode"] if self.mode != new.mode and not self._overridden else []
        return [*mode, *default, *(f"packs.{name}.run" for name in found)]

    def _read(self) -> None:
        self._seen = _stamp(self.path)
        found = read(self.path)
        if found.trouble is not None:
            about = {"path": self.path, "found": found.trouble.found["found"]}
            self.trouble = ZImageError("ZI-SANDBOX-RELOAD", **about)
            log.error("%s", self.trouble)
            return
        self.trouble = None
        self.policy = replace(found, trouble=None)
        log.info("Z-Image: %s was read again", self.path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever the file does; None without a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino

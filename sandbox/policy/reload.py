"""``sandbox.toml`` as it is now: a change applies to a pack's next process."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

from ...errors import ZImageError
from .policy import PackRule, Policy, read

log = logging.getLogger(__name__)


class ReloadablePolicy:
    """The policy of a file that may change while ComfyUI runs.

    Where packs run (``mode``, ``run``) is decided when ComfyUI loads them and stays.

    Args:
        path: of ``sandbox.toml``.
        policy: what the file said when ComfyUI started.

    Attributes:
        at_start: the same.
        current: what the file says now, or said before it had a mistake.
        error: why the file as it is now cannot be used.
    """

    def __init__(self, path: Path, policy: Policy) -> None:
        self.path = path
        self.at_start = policy
        self.current = policy
        self.error = policy.error
        # The environment can replace the file's mode, and does so after every reload.
        self._mode_is_overridden = policy.error is None and read(path).mode != policy.mode
        self._stamp = _stamp(path)
        self._lock = threading.Lock()

    def rule(self, name: str) -> PackRule:
        """Return the rule for a pack that starts now; read the file first if it has changed."""
        with self._lock:
            if _stamp(self.path) != self._stamp:
                self._read()
            return self.current.rule(name)

    def reload(self) -> None:
        """Read the file now.

        Raises:
            ZImageError: ``ZI-SANDBOX-RELOAD``; the earlier rules stay in force.
        """
        with self._lock:
            self._read()
            if self.error is not None:
                raise self.error

    def pending_restart(self) -> list[str]:
        """Return the changed keys that apply only after a restart of ComfyUI."""
        old = self.at_start
        new = self.current
        names = sorted({*old.packs, *new.packs})
        changed = [name for name in names if old.rule(name).run != new.rule(name).run]
        default = ["default.run"] if old.default.run != new.default.run else []
        mode = ["mode"] if old.mode != new.mode and not self._mode_is_overridden else []
        return [*mode, *default, *(f"packs.{name}.run" for name in changed)]

    def _read(self) -> None:
        self._stamp = _stamp(self.path)
        policy = read(self.path)
        if policy.error is not None:
            reason = policy.error.found["found"]
            self.error = ZImageError("ZI-SANDBOX-RELOAD", path=self.path, found=reason)
            log.error("%s", self.error)
            return
        self.error = None
        self.current = replace(policy, error=None)
        log.info("Z-Image: %s was read again", self.path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return values that differ whenever the file has changed; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino

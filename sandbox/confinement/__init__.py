"""A process takes its own rights away before it runs a stranger's code. It needs none for that.

Standard library only, and nothing of the rest of the pack: it is loaded by workers that are started
with ``python -I``. Linux has the mechanisms; elsewhere each is reported as unavailable.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

from . import bubblewrap, environment, landlock, limits, privileges, seccomp
from .descriptors import close_others
from .environment import scrub
from .jail import Jail
from .report import Outcome, Report

__all__ = ["Jail", "Outcome", "Report", "close_others", "confine", "probe", "scrub"]


def confine(jail: Jail) -> Report:
    """Put the calling process into a jail, for good.

    To be called while there is one thread, after what must stay open has been opened and the rest
    closed (:func:`close_others`). What was granted by an open descriptor, or lies in memory, is not
    taken back.
    """
    found = {"threads": _threads(), "environment": environment.initial()}
    found["no_new_privs"] = privileges.forbid_more()
    found["capabilities"] = privileges.drop_capabilities()
    found["landlock"], abi, scoped = landlock.apply(jail)
    found["limits"] = limits.apply(jail)
    if jail.tasks:
        found["tasks"] = limits.tasks(jail)
    # Last, since it refuses what the others need.
    found["seccomp"] = seccomp.apply(jail, abi, bool(scoped & landlock.SIGNALS))
    return Report(found)


def probe() -> dict[str, Any]:
    """What this machine offers; changes nothing."""
    try:
        abi, reason = landlock.version(), ""
    except OSError as error:
        abi, reason = 0, error.strerror or str(error)
    return {
        "system": sys.platform,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "user": privileges.user(),
        "capabilities": privileges.capabilities(),
        "no_new_privs": privileges.no_new_privs(),
        "landlock": abi,
        "landlock_reason": reason,
        "seccomp": seccomp.available(),
        "bubblewrap": bubblewrap.available().reason,
    }


def _threads() -> Outcome:
    try:
        count = len(os.listdir("/proc/self/task"))
    except OSError:
        return Outcome("unavailable", "threads cannot be counted")
    if count == 1:
        return Outcome("applied", "one thread")
    gap = "files, capabilities and limits of the threads that exist already"
    return Outcome("failed", f"{count} threads", (gap,))

"""Confinement of the calling process before it runs other people's code; needs no privileges.

Only the standard library is used, and no other part of this project: workers that are started with
``python -I`` load this folder. The mechanisms exist on Linux; elsewhere each is unavailable.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

from . import bubblewrap, environment, landlock, privileges, resource_limits, seccomp
from .descriptors import close_others
from .environment import scrub
from .jail import Jail
from .report import ConfinementReport, Outcome

__all__ = ["ConfinementReport", "Jail", "Outcome", "close_others", "confine", "probe", "scrub"]


def confine(jail: Jail) -> ConfinementReport:
    """Confine the calling process to a jail, irrevocably.

    Call it while there is one thread, after :func:`close_others`: open descriptors keep their
    rights, and the contents of memory stay readable.
    """
    outcomes = {"threads": _threads(), "environment": environment.initial()}
    outcomes["no_new_privs"] = privileges.forbid_more()
    outcomes["capabilities"] = privileges.drop_capabilities()
    outcomes["landlock"], abi, scoped = landlock.apply(jail)
    outcomes["limits"] = resource_limits.apply(jail)
    if jail.tasks:
        outcomes["tasks"] = resource_limits.tasks(jail)
    # Last, since it refuses what the others need.
    outcomes["seccomp"] = seccomp.apply(jail, abi, bool(scoped & landlock.SIGNALS))
    return ConfinementReport(outcomes)


def probe() -> dict[str, Any]:
    """Return what this machine offers, without changing anything."""
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

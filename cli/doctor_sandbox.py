"""The part of ``doctor`` about sandboxes: what this machine offers, and what to do about gaps."""

from __future__ import annotations

from typing import Any

from ..errors import ZImageError
from .terminal import problem

KEYS = ("system", "kernel", "machine", "landlock", "seccomp", "bubblewrap", "error")


def sandboxes(probe: dict[str, Any]) -> dict[str, Any]:
    """The part of the report.

    Args:
        probe: what the host's Python has found (see ``probe.py``); empty when it did not run.
    """
    part: dict[str, Any] = {key: probe[key] for key in KEYS if key in probe}
    gaps = [] if "system" not in probe else _gaps(probe)
    return {**part, "problems": [problem(one, "note") for one in gaps]}


def _gaps(probe: dict[str, Any]) -> list[ZImageError]:
    """What keeps packs from being confined here."""
    if probe["system"] != "linux":
        return [ZImageError("ZI-SANDBOX-NO-LINUX", found=probe["system"])]
    found = []
    if not probe["landlock"]:
        found.append(ZImageError("ZI-SANDBOX-NO-LANDLOCK", found=probe["landlock_reason"]))
    if not probe["seccomp"]:
        about = f"{probe['machine']}, Linux {probe['kernel']}"
        found.append(ZImageError("ZI-SANDBOX-NO-SECCOMP", found=about))
    return found

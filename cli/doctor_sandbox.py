"""The part of ``doctor`` about sandboxes: what this machine supports, and what to do."""

from __future__ import annotations

from typing import Any

from ..errors import ZImageError
from .terminal import problem

KEYS = ("system", "kernel", "machine", "landlock", "seccomp", "bubblewrap", "error")


def sandboxes(probe: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the report about sandboxes.

    Args:
        probe: the report of the host's Python (see ``probe.py``), empty if it did not run.
    """
    part: dict[str, Any] = {key: probe[key] for key in KEYS if key in probe}
    gaps = _missing_mechanisms(probe) if probe else []
    return {**part, "problems": [problem(gap, "note") for gap in gaps]}


def _missing_mechanisms(probe: dict[str, Any]) -> list[ZImageError]:
    """Return the reasons why packs cannot be confined here, or why that is unknown."""
    if "error" in probe:
        return [ZImageError("ZI-SANDBOX-PROBE", found=probe["error"])]
    if probe["system"] != "linux":
        return [ZImageError("ZI-SANDBOX-NO-LINUX", found=probe["system"])]
    gaps = []
    if not probe["landlock"]:
        gaps.append(ZImageError("ZI-SANDBOX-NO-LANDLOCK", found=probe["landlock_reason"]))
    if not probe["seccomp"]:
        machine = f"{probe['machine']}, Linux {probe['kernel']}"
        gaps.append(ZImageError("ZI-SANDBOX-NO-SECCOMP", found=machine))
    return gaps

"""Find bundled templates that would not run on this host, and hide them on the page.

Template files are never changed. A file that has changed is checked again with the next request for
the list.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..engine import presets, saving, sizes
from ..errors import ZImageError, system
from ..errors.bilingual import Bilingual
from ..validator.check import check_bytes
from ..validator.findings import Finding, Findings
from ..validator.knowledge import Knowledge
from ..validator.our_nodes import EngineChecks
from . import live

log = logging.getLogger(__name__)

MISSING_FILES = frozenset({"ZI-WF-MODEL", "ZI-WF-FILE"})
"""Findings that the user can fix by adding a file; such a template stays in the list."""


def check_prefix(prefix: str) -> None:
    """Check a file name as the save node will, in the output folder of this ComfyUI."""
    saving.check_prefix(prefix, live.output_folder())


ENGINE = EngineChecks(
    presets.resolve,
    sizes.resolve,
    sizes.check_batch,
    saving.check_quality,
    check_prefix,
    presets.check_tolerance,
)
"""Checks of the values of this pack's nodes."""

Stamp = tuple[int, ...]


class Templates:
    """The templates of a folder and the results of their checks.

    Not thread-safe; :class:`.routes.Page` uses it from one thread.

    Args:
        folder: folder of ``NAME.json``.
        knowledge: returns the node classes for a check; called only when a file must be checked.
    """

    def __init__(self, folder: Path, knowledge: Callable[[], Knowledge]) -> None:
        self.folder = folder
        self.knowledge = knowledge
        self._results: dict[str, tuple[Stamp, bool]] = {}

    def broken(self) -> frozenset[str]:
        """Return the names of broken templates; each is logged when it is found to be broken."""
        known: Knowledge | None = None
        for path in sorted(self.folder.glob("*.json")):
            stamp = _stamp(path)
            if self._results.get(path.stem, (None, False))[0] == stamp:
                continue
            known = known or self.knowledge()
            fault = _fault(path, known)
            self._results[path.stem] = (stamp, fault is not None)
            if fault is not None:
                log.warning(
                    "%s",
                    ZImageError(
                        "ZI-TEMPLATE-BROKEN",
                        found=path.stem,
                        reason=Bilingual(fault.chinese, fault.english),
                    ),
                )
        return frozenset(name for name, (_, is_broken) in self._results.items() if is_broken)


def without(listed: Any, pack: str, broken: frozenset[str]) -> Any:
    """Return a list of templates (names by pack) without the broken ones of one pack."""
    names = listed.get(pack) if isinstance(listed, dict) else None
    if not isinstance(names, list):
        return listed
    working = [name for name in names if name not in broken]
    other_packs = {key: value for key, value in listed.items() if key != pack}
    return {**listed, pack: working} if working else other_packs  # no group without templates


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, -1)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size  # the second: permissions


def _fault(path: Path, known: Knowledge) -> Finding | None:
    """Return the first error that adding a file would not fix, None without such an error."""
    try:
        data = path.read_bytes()
    except OSError as error:
        findings = Findings()
        findings.add("ZI-WF-UNREADABLE", path=path.name, found=system.reason(error))
        return findings[0]
    # Templates must run on a ComfyUI with this pack alone.
    errors = check_bytes(data, known, core_only=True, engine=ENGINE).findings.errors
    return next((finding for finding in errors if finding.code not in MISSING_FILES), None)

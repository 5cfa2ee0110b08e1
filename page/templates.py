"""Bundled templates that would not run here: found once, told once, left out of the page's list.

Files are never touched. A file that changes is judged anew with the next request for the list.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..engine import presets, saving, sizes
from ..errors import ZImageError
from ..validator.check import check_bytes
from ..validator.findings import Finding
from ..validator.knowledge import Knowledge
from ..validator.our_nodes import EngineChecks

log = logging.getLogger(__name__)

BEARABLE = frozenset({"ZI-WF-MODEL", "ZI-WF-FILE"})
"""What the user can put right by adding a file; the page says which when the template is run."""

ENGINE = EngineChecks(
    presets.resolve,
    sizes.resolve,
    sizes.check_batch,
    saving.check_quality,
    saving.check_prefix,
    presets.check_tolerance,
)
"""What judges the values of our nodes."""

Stamp = tuple[int, int]


class Templates:
    """The templates of a folder and what was found wrong with them.

    Not for several threads at once; its owner has one thread for it.

    Args:
        folder: where ``NAME.json`` lie.
        knowledge: gives the node classes to check against; asked only when there is work.
    """

    def __init__(self, folder: Path, knowledge: Callable[[], Knowledge]) -> None:
        self.folder = folder
        self.knowledge = knowledge
        self._judged: dict[str, tuple[Stamp, bool]] = {}

    def broken(self) -> frozenset[str]:
        """Names of the templates to leave out; each is logged when it is first found broken."""
        known: Knowledge | None = None
        for path in sorted(self.folder.glob("*.json")):
            stamp = _stamp(path)
            if self._judged.get(path.stem, (None, False))[0] == stamp:
                continue
            known = known or self.knowledge()
            fault = _fault(path, known)
            self._judged[path.stem] = (stamp, fault is not None)
            if fault is not None:
                log.warning(
                    "%s",
                    ZImageError(
                        "ZI-TEMPLATE-BROKEN",
                        found=path.stem,
                        reason_zh=fault.chinese,
                        reason_en=fault.english,
                    ),
                )
        return frozenset(name for name, (_, is_broken) in self._judged.items() if is_broken)


def without(listed: Any, pack: str, broken: frozenset[str]) -> Any:
    """A list of templates (names by pack) without the broken ones of one pack."""
    names = listed.get(pack) if isinstance(listed, dict) else None
    if not isinstance(names, list):
        return listed
    kept = [name for name in names if name not in broken]
    rest = {key: value for key, value in listed.items() if key != pack}
    return {**listed, pack: kept} if kept else rest  # an empty group would be an empty page


def _stamp(path: Path) -> Stamp:
    try:
        about = path.stat()
    except OSError:
        return (0, -1)
    return about.st_mtime_ns, about.st_size


def _fault(path: Path, known: Knowledge) -> Finding | None:
    """The first finding that adding a file would not cure, None if there is none."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    # Templates must run on a bare ComfyUI with this pack alone.
    errors = check_bytes(data, known, core_only=True, engine=ENGINE).findings.errors
    return next((finding for finding in errors if finding.code not in BEARABLE), None)

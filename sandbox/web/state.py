"""The state of the sandboxes for ``/health``, ``/metrics`` and the panel."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ZImageError
from ...errors.bilingual import chinese, english

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from ..host.pack import Pack
    from ..host.supervisor import Supervisor
    from ..policy.reload import ReloadablePolicy

WATCHED_BY_HOST = frozenset({"tasks"})
"""Limits that a process cannot set for itself; the host enforces them, see :mod:`host.usage`."""
FRESH_SECONDS = 2.0
PRIVATE = ("Private_Clean:", "Private_Dirty:", "Swap:")


class PrivateMemory:
    """Private memory of processes, read in a thread, since reading takes milliseconds."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}
        self._read_at = float("-inf")

    def of(self, pids: Sequence[int]) -> dict[int, int]:
        """Return the last readings by process id, and start the next reading if they are old."""
        if pids and time.monotonic() - self._read_at > FRESH_SECONDS:
            self._read_at = time.monotonic()
            threading.Thread(target=self.read, args=(pids,), daemon=True).start()
        return self._bytes

    def read(self, pids: Sequence[int]) -> None:
        """Read them now."""
        self._bytes = {pid: private_memory(pid) for pid in pids}


def private_memory(pid: int) -> int:
    """Return the bytes that a process shares with no other; 0 if the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(PRIVATE))


def describe(
    supervisor: Supervisor,
    rules: ReloadablePolicy,
    findings: Sequence[ZImageError],
    served: Container[str],
    memory: PrivateMemory,
) -> dict[str, Any]:
    """Return mode, packs and findings.

    Args:
        supervisor: has the packs.
        rules: what they may do.
        findings: errors that users should know of, such as packs that were refused.
        served: names of the packs whose nodes are registered.
        memory: of their processes.
    """
    listed = list(supervisor.packs.items())
    readings = memory.of([pid for _, pack in listed if (pid := _pid(pack)) is not None])
    with_findings = {str(error.found.get("pack")) for error in findings}
    packs = {
        name: {
            **_pack(pack, refused=name in with_findings and name not in served),
            "memory_bytes": readings.get(_pid(pack) or 0, 0),
        }
        for name, pack in listed
    }
    unique = {str(error): error for error in (*findings, rules.error) if error is not None}
    return {
        "mode": supervisor.policy.mode,
        "packs": packs,
        "trusted": sorted(k for k, v in rules.at_start.packs.items() if v.run == "trusted"),
        "blocked": sorted(k for k, v in rules.at_start.packs.items() if v.run == "blocked"),
        "findings": [_finding(error) for error in unique.values()],
        "restart_for": restart_for(supervisor, rules),
    }


def restart_for(supervisor: Supervisor, rules: ReloadablePolicy) -> list[str]:
    """Return the changed rules and node classes that apply only after a restart of ComfyUI."""
    packs = list(supervisor.packs.values())
    changes = [pack.changes for pack in packs if pack.changes is not None]
    return [*rules.pending_restart(), *(entry for change in changes for entry in change.waiting())]


def _pid(pack: Pack) -> int | None:
    """Return the id of a pack's process; None if it does not run."""
    process = pack.process
    return process.pid if process is not None and process.alive else None


def _pack(pack: Pack, refused: bool) -> dict[str, Any]:
    pid = _pid(pack)
    session = pack.session
    status = "running" if pid is not None else "resting"
    if refused or pack.quarantined:
        status = "refused" if refused else "quarantined"
    report = (session.report if session is not None else None) or pack.report
    return {
        "status": status,
        "pid": pid,
        "starts": pack.starts,
        "ends": pack.ends,
        "crashes": len(pack.crashes),
        "last_end": english(pack.reason),
        "last_end_zh": chinese(pack.reason),
        "events_left_out": pack.unsolicited.discarded,
        "nodes": len(pack.info.nodes) if pack.info else 0,
        "routes": len({path for _, path in pack.info.routes}) if pack.info else 0,
        "not_confined": {
            name: {key: outcome[key] for key in ("state", "reason", "gaps")}
            for name, outcome in (report or {}).items()
            if outcome["state"] != "applied" and name not in WATCHED_BY_HOST
        },
        "gaps": {
            name: outcome["gaps"]
            for name, outcome in (report or {}).items()
            if outcome["gaps"] and outcome["state"] == "applied"
        },
    }


def _finding(error: ZImageError) -> dict[str, Any]:
    pack = error.found.get("pack")
    texts = {"code": error.code, "zh": error.chinese, "en": error.english}
    return {"pack": None if pack is None else str(pack), **texts}

"""How the sandboxes are, for ``/health``, ``/metrics`` and the panel."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ZImageError, in_chinese

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from ..host.pack import Pack
    from ..host.supervisor import Supervisor
    from ..policy.reload import ReloadablePolicy

WATCHED = frozenset({"tasks"})
"""What no process can do to itself: the host counts instead, see :mod:`.watch`."""
FRESH_SECONDS = 2.0
OWN = ("Private_Clean:", "Private_Dirty:", "Swap:")


class Memory:
    """Bytes that each process shares with no other, read beside the server: it takes milliseconds.

    What is told is what the last reading found; asking for it starts the next one.
    """

    def __init__(self) -> None:
        self._found: dict[int, int] = {}
        self._read = float("-inf")

    def of(self, pids: Sequence[int]) -> dict[int, int]:
        """By process, as far as they were read already."""
        if pids and time.monotonic() - self._read > FRESH_SECONDS:
            self._read = time.monotonic()
            threading.Thread(target=self.read, args=(pids,), daemon=True).start()
        return self._found

    def read(self, pids: Sequence[int]) -> None:
        """Read them now."""
        self._found = {pid: own_memory(pid) for pid in pids}


def own_memory(pid: int) -> int:
    """Bytes that a process shares with no other; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(OWN))


def describe(
    supervisor: Supervisor,
    rules: ReloadablePolicy,
    findings: Sequence[ZImageError],
    served: Container[str],
    memory: Memory,
) -> dict[str, Any]:
    """Mode, packs and findings.

    Args:
        supervisor: has the packs.
        rules: what they may do.
        findings: what is worth knowing, such as packs that were refused.
        served: names of the packs whose nodes are there.
        memory: of their processes.
    """
    listed = list(supervisor.packs.items())
    own = memory.of([one for _, pack in listed if (one := _pid(pack)) is not None])
    troubled = {str(one.found.get("pack")) for one in findings}
    packs = {
        name: {
            **_pack(pack, refused=name in troubled and name not in served),
            "memory_bytes": own.get(_pid(pack) or 0, 0),
        }
        for name, pack in listed
    }
    said = {str(one): one for one in (*findings, rules.error) if one is not None}
    return {
        "mode": supervisor.policy.mode,
        "packs": packs,
        "trusted": sorted(k for k, v in rules.at_start.packs.items() if v.run == "trusted"),
        "blocked": sorted(k for k, v in rules.at_start.packs.items() if v.run == "blocked"),
        "findings": [_finding(one) for one in said.values()],
        "restart_for": restart_for(supervisor, rules),
    }


def restart_for(supervisor: Supervisor, rules: ReloadablePolicy) -> list[str]:
    """Return what holds only when ComfyUI starts again: rules and node classes that changed."""
    packs = list(supervisor.packs.values())
    changes = [pack.changes for pack in packs if pack.changes is not None]
    return [*rules.pending_restart(), *(entry for change in changes for entry in change.waiting())]


def _pid(pack: Pack) -> int | None:
    """Its process, while that runs."""
    process = pack.process
    alive = process is not None and process.status is None and process.dead is None
    return process.pid if process is not None and alive else None


def _pack(pack: Pack, refused: bool) -> dict[str, Any]:
    pid, process = _pid(pack), pack.process
    status = "running" if pid is not None else "resting"
    if refused or pack.quarantined:
        status = "refused" if refused else "quarantined"
    report = (process.report if process is not None else None) or pack.report
    return {
        "status": status,
        "pid": pid,
        "starts": pack.starts,
        "ends": pack.ends,
        "crashes": len(pack.crashes),
        "last_end": pack.reason,
        "last_end_zh": in_chinese(pack.reason),
        "events_left_out": pack.asides.left_out,
        "nodes": len(pack.info.nodes) if pack.info else 0,
        "routes": len({path for _, path in pack.info.routes}) if pack.info else 0,
        "not_confined": {
            name: {"state": one["state"], "reason": one["reason"], "gaps": one["gaps"]}
            for name, one in (report or {}).items()
            if one["state"] != "applied" and name not in WATCHED
        },
        "gaps": {
            name: one["gaps"]
            for name, one in (report or {}).items()
            if one["gaps"] and one["state"] == "applied"
        },
    }


def _finding(error: ZImageError) -> dict[str, Any]:
    pack = error.found.get("pack")
    about = {"code": error.code, "zh": error.chinese, "en": error.english}
    return {"pack": None if pack is None else str(pack), **about}

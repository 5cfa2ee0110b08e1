"""A process of a pack that is none."""

from __future__ import annotations

import os
import types


class FakeProcess:
    """A worker as far as a pack looks at it: its process is this one."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.dead: str | None = None
        self.pid = os.getpid()
        self.busy, self.handles, self.calls, self.first = False, 0, 0, None
        self.report: dict[str, dict[str, str]] | None = None
        self.codec = types.SimpleNamespace(pack=lambda value: value)
        self.closed = False

    def end(self) -> str:
        return self.dead or "SIGKILL"

    def last(self) -> str:
        return ""

    def kill(self, why: str = "") -> None:
        self.dead, self.status = why, 9

    def drain(self) -> None:
        return None

    def trim(self, seconds: float) -> None:
        return None

    def close(self) -> None:
        self.closed = True

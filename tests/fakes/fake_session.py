"""A worker of a pack that does not exist."""

from __future__ import annotations

import os
import types


class FakeProcess:
    """A worker's process as far as a pack uses it: it is the process of the test."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.status: int | None = None
        self.end_reason: str | None = None
        self.first_private_bytes: int | None = None

    @property
    def alive(self) -> bool:
        return self.status is None and self.end_reason is None

    def wait_end(self) -> str:
        return self.end_reason or "SIGKILL"

    def last_output(self) -> str:
        return ""

    def kill(self, reason: str = "") -> None:
        self.end_reason = reason
        self.status = 9


class FakeSession:
    """The session with such a worker."""

    def __init__(self) -> None:
        self.process = FakeProcess()
        self.busy = False
        self.call_count = 0
        self.report: dict[str, dict[str, str]] | None = None
        codec = types.SimpleNamespace(pack=lambda value: value)
        self.objects = types.SimpleNamespace(codec=codec, handle_count=0)
        self.closed = False

    def drain(self) -> None:
        return None

    def trim(self, seconds: float) -> None:
        return None

    def close(self) -> None:
        self.closed = True

"""Exceptions that both sides of a sandbox raise and catch."""

from __future__ import annotations

from . import messages as m


class CodecError(TypeError):
    """A value that cannot be serialized, or a message that contradicts itself."""


class QuotaError(MemoryError):
    """A request for more memory or more objects than the quota allows."""


class HostError(RuntimeError):
    """A request that the host could not carry out for a worker."""


class WorkerDied(Exception):
    """The end of a worker process.

    Attributes:
        reason: how it ended, for a person: a signal, an exit status or the limit that it exceeded.
            In the host it may be a text in two languages.
    """

    def __init__(self, reason: object) -> None:
        super().__init__(reason)
        self.reason = reason


class WorkerRaised(Exception):
    """A call that raised an exception inside the worker.

    Attributes:
        error: the exception as the worker described it.
    """

    def __init__(self, error: m.ErrorInfo) -> None:
        super().__init__(error.message)
        self.error = error

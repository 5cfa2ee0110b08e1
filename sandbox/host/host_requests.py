"""Requests of a worker, answered by the thread that waits for the worker's call."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..protocol import messages as m
from ..protocol.error_info import error_kind, host_error_info
from ..protocol.exceptions import QuotaError, WorkerDied
from .inbound import CopiedBytes

Answer = Callable[[Any, str, Any, int], Any]
"""Called with target object or None, name, arguments and the request's size in bytes."""
CHUNK_REQUEST = "arena"
"""The name of the request for a chunk of shared memory."""


class HostRequests:
    """The requests of one worker that are being answered.

    Args:
        answer: carries out a request.
        lend: makes a chunk of shared memory of a size and returns its number.
        pack: serializes the result.
        copied: bytes that the host has copied for requests.
        quota: for these bytes.
    """

    def __init__(
        self,
        answer: Answer,
        lend: Callable[[int], int],
        pack: Callable[[Any], m.Value],
        copied: CopiedBytes,
        quota: int,
    ) -> None:
        self._answer = answer
        self._lend = lend
        self._pack = pack
        self._copied = copied
        self._quota = quota
        self._current = threading.local()
        self._open: list[int] = []

    @property
    def innermost(self) -> int:
        """The request in which a callback runs: this thread's, else the newest, else 0."""
        return getattr(self._current, "number", 0) or (self._open or [0])[-1]

    def respond(
        self, request: m.HostRequest, target: Any, arguments: Any, size: int, copied_before: int
    ) -> m.HostResponse:
        """Carry out a request.

        Args:
            request: the message.
            target: its object.
            arguments: its arguments.
            size: of the message, in bytes.
            copied_before: bytes that the host had copied before this request.

        Returns:
            The result, or the exception that the request has raised.

        Raises:
            WorkerDied: the worker has ended meanwhile.
        """
        with self._entered(request.number):
            try:
                self._require_quota(copied_before)
                if request.target is None and request.name == CHUNK_REQUEST:
                    result: Any = self._lend(int(arguments[0]))
                else:
                    result = self._answer(target, request.name, arguments, size)
                return m.HostResponse(request.number, self._pack(result))
            except WorkerDied:
                raise
            except BaseException as error:
                # ComfyUI's interrupt is no Exception since 0.33: the worker waits for a response.
                if not isinstance(error, Exception) and error_kind(error) != "interrupted":
                    raise
                return m.HostResponse(request.number, error=host_error_info(error))

    def _require_quota(self, copied_before: int) -> None:
        """Check the copied bytes; a request without new bytes is allowed, since it may free some.

        Raises:
            QuotaError: the request has brought too many.
        """
        copied = self._copied.total
        if copied > max(copied_before, self._quota):
            raise QuotaError(f"the host keeps {copied} > {self._quota} bytes for this pack")

    @contextlib.contextmanager
    def _entered(self, number: int) -> Iterator[None]:
        outer = getattr(self._current, "number", 0)
        self._current.number = number
        self._open.append(number)
        try:
            yield
        finally:
            self._current.number = outer
            self._open.remove(number)

"""The life of one worker process, as the host sees it."""

from __future__ import annotations

import contextlib
import os
import signal

from ...errors.bilingual import Bilingual
from .log_capture import Output
from .template_client import TemplateClient, describe_status

EXIT_SECONDS = 2.0
"""How long a worker that has closed its connection may take to exit."""
REAP_SECONDS = 30.0
"""How long the template may take to report the end: the machine may be busy."""
CLOSE_SECONDS = 5.0
SIGNAL_SECONDS = 1.0


class WorkerProcess:
    """A worker process, forked by the template when this object is created.

    Args:
        name: of the pack.
        template: the process that forks it.
        output: receives its standard output.
        ends: the worker's descriptors for frames and for descriptors.

    Attributes:
        status: of ``waitpid``, None while it runs.
        end_reason: how it ended, for a person, as soon as the host knows or decides.
        first_private_bytes: its private memory at the first measurement.
    """

    def __init__(
        self, name: str, template: TemplateClient, output: Output, ends: tuple[int, int]
    ) -> None:
        self.name = name
        self.template = template
        self.output = output
        self.status: int | None = None
        self.end_reason: Bilingual | str | None = None
        self.first_private_bytes: int | None = None
        self._tail = output.begin()
        self.token, self.pid = template.spawn((*ends, output.writing), self._on_exit)

    @property
    def alive(self) -> bool:
        """Whether it runs and the host has not decided to end it."""
        return self.status is None and self.end_reason is None

    def kill(self, reason: Bilingual | str | None = None) -> None:
        """End it at once.

        Args:
            reason: becomes the ``end_reason``, unless there is one.
        """
        if reason is not None and self.end_reason is None:
            self.end_reason = reason
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait_end(self) -> Bilingual | str:
        """Wait until it has ended, and kill it if it does not exit by itself.

        Returns:
            The ``end_reason``.
        """
        if self.end_reason is None:
            status = self.template.wait_status(self.token, EXIT_SECONDS)
            if status is None:  # the kernel reports a signal that came before this one
                self.kill()
                status = self.template.wait_status(self.token, REAP_SECONDS)
            if self.end_reason is None:  # another thread may have killed it with a reason
                self.end_reason = "?" if status is None else describe_status(status)
        return self.end_reason

    def wait_for_signal(self) -> None:
        """Give the kernel time to end a process that is crashing."""
        self.template.wait_status(self.token, SIGNAL_SECONDS)

    def last_output(self) -> str:
        """Return its last lines, also if the pack's next process already writes to the pipe."""
        return self.output.last(self._tail)

    def close(self) -> None:
        """End it and wait for its end."""
        self.kill("stopped")
        self.template.wait_status(self.token, CLOSE_SECONDS)

    def _on_exit(self, status: int) -> None:
        self.status = status

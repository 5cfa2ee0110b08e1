"""The start of a worker: its connection, its process and its session."""

from __future__ import annotations

from ..protocol import messages as m
from .connection import WorkerConnection
from .frame_transport import FrameTransport
from .log_capture import Output
from .pack_events import UnsolicitedEvents
from .process import WorkerProcess
from .session import Answer, WorkerSession
from .template_client import TemplateClient


def start_worker(
    name: str,
    template: TemplateClient,
    begin: m.Begin,
    output: Output,
    answer: Answer,
    unsolicited: UnsolicitedEvents,
    outer_report: dict[str, dict[str, str]] | None = None,
) -> WorkerSession:
    """Start a worker process and send it its first frame.

    Args:
        name: of the pack.
        template: forks the process.
        begin: the first frame, which has the quota.
        output: receives its standard output.
        answer: see :class:`WorkerSession`.
        unsolicited: see :class:`WorkerSession`.
        outer_report: see :class:`WorkerSession`.
    """
    transport = FrameTransport()
    try:
        with transport.worker_ends() as ends:
            process = WorkerProcess(name, template, output, ends)
        connection = WorkerConnection(process, transport)
        session = WorkerSession(connection, answer, begin.quota, unsolicited, outer_report)
        connection.send(begin)
    except BaseException:
        transport.close()
        raise
    return session

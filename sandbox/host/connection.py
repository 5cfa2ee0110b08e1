"""The transport of one worker, where every error ends the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors.bilingual import Bilingual
from ..protocol import messages as m
from ..protocol.exceptions import WorkerDied
from .frame_transport import BadFrameError, FrameTransport
from .frames_in import WorkerCrash
from .log_capture import clean
from .process import WorkerProcess


class WorkerConnection:
    """The connection to a worker process.

    Args:
        process: of the worker.
        transport: its sockets.
    """

    def __init__(self, process: WorkerProcess, transport: FrameTransport) -> None:
        self.process = process
        self.reading = transport.reading
        self._transport = transport

    def send(self, frame: Any) -> None:
        """Send a frame.

        Raises:
            CodecError: the frame is too long; the worker goes on.
            WorkerDied: the worker does not read, or has closed the connection.
        """
        try:
            self._transport.send(frame)
        except TimeoutError as error:
            self.process.kill(Bilingual("它不再读取消息", str(error)))
            raise WorkerDied(self.process.wait_end()) from None
        except OSError:
            self.process.kill()
            raise WorkerDied(self.process.wait_end()) from None

    def send_descriptor(self, number: int, fd: int) -> None:
        """Send a descriptor, before the frame that refers to its number.

        Raises:
            WorkerDied: the worker has closed the connection.
        """
        try:
            self._transport.send_descriptor(number, fd)
        except OSError:
            self.process.kill()
            raise WorkerDied(self.process.wait_end()) from None

    def return_leases(self, leases: list[int]) -> None:
        """Tell the worker that it can reuse memory."""
        if leases:
            self.send(m.Returned(leases))

    def receive(self, seconds: float) -> tuple[m.FromWorker, int] | None:
        """Return the next frame and its size, None if none begins within that time.

        Raises:
            WorkerDied: the worker has ended, or was ended for an invalid frame.
        """
        try:
            return self._transport.receive(seconds)
        except WorkerCrash as crash:
            raise self._end_of_crash(crash) from None
        except BadFrameError as error:
            raise self.reject(error) from error.__cause__
        except (EOFError, OSError):
            self.process.output.add(self._transport.read_report())
            raise WorkerDied(self.process.wait_end()) from None

    def trusted(self, function: Callable[[Any], Any], value: Any) -> Any:
        """Return ``function(value)``; end the worker, which has sent the value, if that fails.

        Raises:
            WorkerDied: the worker was ended.
        """
        try:
            return function(value)
        except WorkerDied:
            raise
        except Exception as error:
            raise self.reject(error) from error

    def reject(self, error: Exception) -> WorkerDied:
        """End a worker that has sent an invalid message; return the exception to raise."""
        detail = clean(str(error))[:500]
        reason = Bilingual(f"无法理解的消息：{detail}", f"bad message: {detail}")
        self.process.kill(reason)
        return WorkerDied(reason)

    def close(self) -> None:
        """End the worker and close the sockets."""
        self.process.close()
        self._transport.close()

    def _end_of_crash(self, crash: WorkerCrash) -> WorkerDied:
        if crash.signal_unknown:
            self.process.wait_for_signal()
        self.process.kill(crash.signal)
        self.process.output.add(crash.report)
        return WorkerDied(self.process.wait_end())

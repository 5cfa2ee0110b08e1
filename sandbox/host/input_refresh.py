"""Lists of files among the inputs of nodes, read again when the files change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..protocol import messages as m
from ..protocol.description_codec import unpack_description
from ..protocol.exceptions import WorkerDied
from .call_deadline import CallDeadline
from .description_cache import state_of
from .description_limits import MAX_PATHS, checked_bytes
from .log_capture import clean
from .session import WorkerSession

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
WAIT_SECONDS = 1.0
"""How long ``/object_info`` waits for new lists; after that it gets the previous ones."""
READ_SECONDS = 60.0
"""How long the worker may take to read the lists, in addition to the import of the pack."""


class InputRefresh:
    """Reads the inputs of one pack's nodes from its worker.

    Args:
        name: of the pack.
        use: starts the worker if necessary, and keeps it running.
        crashed: called with a session that has ended, and the reason.
        clock: seconds, monotonic.

    Attributes:
        store: called with a description that has changed.
    """

    def __init__(
        self,
        name: str,
        use: Callable[[], AbstractContextManager[WorkerSession]],
        crashed: Callable[[WorkerSession, object], None],
        clock: Callable[[], float],
    ) -> None:
        self.store: Callable[[m.PackInfo], None] = lambda _info: None
        self._name = name
        self._use = use
        self._crashed = crashed
        self._clock = clock
        self._last = float("-inf")
        self._thread: threading.Thread | None = None

    def refresh(self, info: m.PackInfo, running: bool, seconds: float) -> None:
        """Update a description, at most once a second, and wait for that for a limited time.

        Without a worker, one is started only if a file or folder that the inputs depend on has
        changed.

        Args:
            info: the description.
            running: whether the pack has a worker.
            seconds: how long the import of the pack may take.
        """
        if self._clock() - self._last <= INTERVAL_SECONDS:
            return
        self._last = self._clock()
        if not running and state_of(info.looked_at) == info.state:
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(
            target=self._run, args=(info, seconds), name="zimage-inputs", daemon=True
        )
        self._thread.start()
        self._thread.join(WAIT_SECONDS)

    def _run(self, info: m.PackInfo, seconds: float) -> None:
        session = None
        try:
            with self._use() as session:
                data = _read_inputs(session, info, seconds)
            if self._update(info, m.inputs(checked_bytes(data))):
                self.store(info)
        except WorkerDied as error:
            log.warning("Z-Image: %s: %s", self._name, error)
            if session is not None:
                self._crashed(session, error.reason)
        except Exception as error:  # noqa: BLE001  a worker may send anything
            log.warning("Z-Image: %s: %s", self._name, clean(str(error)))

    @staticmethod
    def _update(info: m.PackInfo, inputs: m.Inputs) -> bool:
        """Store new inputs in a description; return whether their files have changed.

        Raises:
            CodecError: an input is invalid.
        """
        del inputs.looked_at[MAX_PATHS:]
        for node in info.nodes:
            if node.name in inputs.nodes:
                node_inputs, node_info = inputs.nodes[node.name]
                unpack_description(node_inputs)
                unpack_description(node_info)
                node.inputs = node_inputs
                node.info = node_info
        previous = info.state
        info.state = state_of(inputs.looked_at)
        info.looked_at = inputs.looked_at
        return info.state != previous


def _read_inputs(session: WorkerSession, info: m.PackInfo, seconds: float) -> Any:
    names = [node.name for node in info.nodes if node.dynamic]
    call = m.Call(0, "inputs", arguments=session.objects.codec.pack(names))
    deadline = CallDeadline(READ_SECONDS + seconds, 0, keep_process=True)
    return session.call(call, None, deadline)

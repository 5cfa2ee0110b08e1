"""Events from packs to the page: checked, limited in number, then sent."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from ..protocol import messages as m
from .log_capture import clean

log = logging.getLogger(__name__)

CORE = frozenset(
    {
        *("status", "execution_start", "execution_error", "execution_success"),
        *("execution_cached", "execution_interrupted", "executing", "executed", "progress"),
        *("progress_state", "feature_flags", "logs"),
    }
)
"""ComfyUI's own events: a pack may send them for the prompt that runs only."""
LARGEST_SIDE = 8192
EVENTS_PER_SECOND = 100
"""Of one pack. A page draws sixty times a second at most; more events only fill the outboxes of its
clients."""
BURST = 1000
"""Events that may come at once while a call runs."""
# ComfyUI's ``BinaryEventTypes`` that a pack may send.
PREVIEW = 1
UNENCODED_PREVIEW = 2
TEXT = 3


class TokenBucket:
    """A limit of :data:`EVENTS_PER_SECOND`, with a burst after a pause.

    Args:
        burst: events that may come at once.
        clock: seconds, monotonic.
    """

    def __init__(self, burst: int = BURST, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._last = clock()

    def take(self) -> bool:
        """Take a token; return False if there is none."""
        now = self._clock()
        refilled = self._tokens + (now - self._last) * EVENTS_PER_SECOND
        self._tokens = min(refilled, self._burst)
        self._last = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class UnsolicitedEvents:
    """Limits the events that a pack's own threads send, outside of any call.

    Args:
        name: of the pack.
        clock: seconds, monotonic.

    Attributes:
        discarded: number of events that were discarded.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.discarded = 0
        self._bucket = TokenBucket(EVENTS_PER_SECOND, clock)

    def take(self) -> bool:
        """Return whether another event may be sent now; count and log those that may not."""
        if self._bucket.take():
            return True
        if not self.discarded:
            log.warning(
                "Z-Image: %s sends more than %d events a second on its own; the rest is discarded",
                self.name,
                EVENTS_PER_SECOND,
            )
        self.discarded += 1
        return False


def forward_event(kind: str, value: Any, context: m.Context | None) -> None:
    """Send an event of a worker to the page; discard and log what is malformed.

    Args:
        kind: ``progress`` or ``send``.
        value: what the worker sent, which may be anything.
        context: of the node that runs; None outside of a node.

    Raises:
        Exception: what ComfyUI's progress hook raises to interrupt the node.
    """
    try:
        if kind == "progress":
            done, total, preview = value
            picture = None if preview is None else _picture(*preview)
            progress = float(done), float(total), picture
        elif kind == "send":
            event, data, sid = value
            return _send(event, data, sid, context)
        else:
            raise ValueError(f"event {kind[:100]!r}")
    except Exception as error:  # noqa: BLE001  a malformed event does not end the call
        log.warning("Z-Image: an event of a sandbox was discarded: %s", clean(str(error))[:500])
        return None
    return _progress(progress, context)


def _progress(progress: tuple[float, float, Any], context: m.Context | None) -> None:
    import comfy.utils

    hook = comfy.utils.PROGRESS_BAR_HOOK
    if hook is None:
        return
    if context is None:
        hook(*progress)
    else:
        hook(*progress, prompt_id=context.prompt, node_id=context.node)


def _picture(kind: Any, picture: Any, largest: Any) -> Any:
    """Return ComfyUI's tuple for a preview from an 8-bit array [height, width, 3]."""
    import numpy
    from PIL import Image

    if kind not in ("JPEG", "PNG") or not (largest is None or isinstance(largest, int)):
        raise ValueError("preview")
    if not isinstance(picture, numpy.ndarray) or picture.dtype != numpy.uint8:
        raise TypeError("preview")
    if picture.ndim != 3 or picture.shape[2] != 3 or max(picture.shape) > LARGEST_SIDE:
        raise ValueError("preview")
    return kind, Image.fromarray(picture), largest


def _binary(event: int, data: Any) -> tuple[int, Any]:
    """Return the arguments of ``send_sync`` for a binary message."""
    if event == UNENCODED_PREVIEW:
        return event, _picture(*data)
    if event not in {PREVIEW, TEXT} or not isinstance(data, bytes):
        raise TypeError("send_sync")
    return event, data


def _send(event: Any, data: Any, sid: Any, context: m.Context | None) -> None:
    from server import PromptServer

    if not (sid is None or isinstance(sid, str)):
        raise TypeError("send_sync")
    if type(event) is int:
        event, data = _binary(event, data)
        PromptServer.instance.send_sync(event, data, sid)
        return
    if not isinstance(event, str):
        raise TypeError("send_sync")
    if event in CORE:
        prompt = data.get("prompt_id") if isinstance(data, dict) else None
        if context is None or prompt != context.prompt:
            raise ValueError(f"{event!r} of another prompt")
    json.dumps(data)  # otherwise ComfyUI would fail later, without the pack's name
    PromptServer.instance.send_sync(event, data, sid)

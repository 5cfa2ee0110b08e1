"""What packs tell the page: passed on if it is theirs to tell."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from ..host.log_capture import clean
from ..protocol import messages as m

log = logging.getLogger(__name__)

CORE = frozenset(
    {
        "status", "execution_start", "execution_error", "execution_success", "execution_cached",
        "execution_interrupted", "executing", "executed", "progress", "progress_state",
        "feature_flags", "logs",
    }
)  # fmt: skip
"""ComfyUI's own events: a pack may send them of the prompt that is running only."""
LARGEST_SIDE = 8192
EVENTS_PER_SECOND = 100
"""Of one pack. A page draws sixty times a second at most; what comes faster only fills the outboxes
of its clients."""
BURST = 1000
"""Events that may come at once while a call is running."""
PREVIEW, UNENCODED_PREVIEW, TEXT = 1, 2, 3
"""ComfyUI's ``BinaryEventTypes`` that a pack may send."""


class TokenBucket:
    """Lets so many pass a second, and a number at once after a pause.

    Args:
        burst: that number.
        clock: seconds, monotonic.
    """

    def __init__(self, burst: int = BURST, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._clock = burst, clock
        self._left, self._last = float(burst), clock()

    def room(self) -> bool:
        """Whether another one may pass now."""
        now = self._clock()
        self._left += (now - self._last) * EVENTS_PER_SECOND
        self._left, self._last = min(self._left, self._burst), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Asides:
    """Counts what threads of a pack's own tell the page, so many events a second.

    Args:
        name: of the pack.
        clock: seconds, monotonic.

    Attributes:
        left_out: events that were too many.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self._pace = name, TokenBucket(EVENTS_PER_SECOND, clock)
        self.left_out = 0

    def room(self) -> bool:
        """Whether another one may be passed on now."""
        if self._pace.room():
            return True
        if not self.left_out:
            log.warning(
                "Z-Image: %s sends more than %d events a second on its own; the rest is left out",
                self.name, EVENTS_PER_SECOND,
            )  # fmt: skip
        self.left_out += 1
        return False


def tell(kind: str, value: Any, context: m.Context | None) -> None:
    """Pass on what a worker tells; anything that does not fit is left out.

    Raises:
        Exception: what ComfyUI raises where it is told of progress, to end the node.
    """
    try:
        if kind == "progress":
            done, total, preview = value
            picture = None if preview is None else _picture(*preview)
            report = float(done), float(total), picture
        elif kind == "send":
            event, data, sid = value
            return _send(event, data, sid, context)
        else:
            raise ValueError(f"event {kind[:100]!r}")
    except Exception as error:  # noqa: BLE001  the call goes on, whatever it is
        log.warning("Z-Image: an event of a sandbox was left out: %s", clean(str(error))[:500])
        return None
    return _progress(report, context)


def _progress(report: tuple[float, float, Any], context: m.Context | None) -> None:
    import comfy.utils

    hook = comfy.utils.PROGRESS_BAR_HOOK
    if hook is None:
        return
    if context is None:
        hook(*report)
    else:
        hook(*report, prompt_id=context.prompt, node_id=context.node)


def _picture(kind: Any, picture: Any, largest: Any) -> Any:
    """ComfyUI's tuple for a preview of an 8-bit array [height, width, 3]."""
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
    """What ``send_sync`` takes for a message that is no JSON."""
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
    json.dumps(data)  # what is no JSON would fail where nobody knows whose it was
    PromptServer.instance.send_sync(event, data, sid)

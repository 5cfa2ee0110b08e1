"""What packs tell the page: passed on if it is theirs to tell."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from . import messages as m

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
"""Of one pack, outside of calls. A page draws sixty times a second at most; what comes faster only
fills the outboxes of its clients, with nobody who waits for the pack and could slow it down."""


class Asides:
    """Counts what threads of a pack's own tell the page, so many events a second.

    Args:
        name: of the pack.
        clock: seconds, monotonic.

    Attributes:
        left_out: events that were too many.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self._clock = name, clock
        self.left_out = self._second = self._events = 0

    def room(self) -> bool:
        """Whether another one may be passed on now."""
        if (now := int(self._clock())) != self._second:
            self._second, self._events = now, 0
        self._events += 1
        if self._events <= EVENTS_PER_SECOND:
            return True
        if not self.left_out:
            log.warning(
                "Z-Image: %s sends more than %d events a second on its own; the rest is left out",
                self.name, EVENTS_PER_SECOND,
            )  # fmt: skip
        self.left_out += 1
        return False


def tell(kind: str, value: Any, context: m.Context | None) -> None:
    """Pass on what a worker tells; anything that does not fit is left out."""
    try:
        if kind == "progress":
            done, total, preview = value
            _progress(float(done), float(total), preview, context)
        elif kind == "send":
            event, data, sid = value
            _send(event, data, sid, context)
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
        log.warning("Z-Image: an event of a sandbox was left out: %s", str(error)[:500])


def _progress(done: float, total: float, preview: Any, context: m.Context | None) -> None:
    import comfy.utils

    hook = comfy.utils.PROGRESS_BAR_HOOK
    if hook is None:
        return
    picture = _picture(*preview) if preview is not None else None
    if context is None:
        hook(done, total, picture)
    else:
        hook(done, total, picture, prompt_id=context.prompt, node_id=context.node)


def _picture(kind: Any, picture: Any, largest: Any) -> Any:
    """ComfyUI's tuple for a preview of an 8-bit array [height, width, 3]."""
    from PIL import Image

    if kind not in {"JPEG", "PNG"} or not (largest is None or isinstance(largest, int)):
        raise ValueError("preview")
    if picture.ndim != 3 or picture.shape[2] != 3 or max(picture.shape) > LARGEST_SIDE:
        raise ValueError("preview")
    return kind, Image.fromarray(picture), largest


def _send(event: Any, data: Any, sid: Any, context: m.Context | None) -> None:
    from server import PromptServer

    if not isinstance(event, str) or not (sid is None or isinstance(sid, str)):
        raise TypeError("send_sync")
    if event in CORE:
        prompt = data.get("prompt_id") if isinstance(data, dict) else None
        if context is None or prompt != context.prompt:
            raise ValueError(f"{event!r} of another prompt")
    json.dumps(data)  # what is no JSON would fail where nobody knows whose it was
    PromptServer.instance.send_sync(event, data, sid)

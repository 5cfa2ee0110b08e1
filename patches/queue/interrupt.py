"""A prompt that does not react to ``POST /interrupt`` is ended together with its process.

The host sets a flag and waits for the node to read it. A node that waits for something else (a
lock, a socket, a computation in C) never does: no prompt runs anymore, while the server answers
every request. Python cannot end a thread, but the guardian can end a process: after a grace the
prompt ends as interrupted, no other prompt starts here, and the guardian replaces the process.
Without a guardian, the log and ``/health`` report the prompt, which goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from aiohttp import web

from ... import http_body
from ...config import Settings
from ...errors import ZImageError
from ..base import comfyui, guardian
from ..base.middleware_slot import Gate, Slot, posts_to
from ..base.prompt_outcome import interrupted
from ..base.registry import About
from .sampler_steps import reaction_time
from .worker_thread import end_prompt

log = logging.getLogger(__name__)

ABOUT = About(
    part="interrupt",
    bare_host=(
        "A node that blocks ignores `/interrupt`: no prompt runs anymore, while `/health` is 200."
    ),
    here=(
        "After 30 s (`ZIMAGE_INTERRUPT`, 0: never) the prompt ends as interrupted, and the guardian"
        " replaces the process. Without a guardian, the log and `/health` say that the queue stands"
        " still."
    ),
)
PATH = "/interrupt"
QUEUE = ("mutex", "currently_running", "task_done")
"""Attributes of the host's queue that this part uses."""
RETRY_SECONDS = 1.0
"""Between two requests to a guardian that is being replaced."""

ABOUT = About(
    part="interrupt",
    bare_host="A node that blocks ignores `/interrupt`: no prompt runs anymore, while `/health` "
    "is 200.",
    here="After 30 s (`ZIMAGE_INTERRUPT`, 0: never) the prompt ends as interrupted, and the "
    "guardian replaces the process. Without a guardian, the log and `/health` say that the queue "
    "stands still.",
)


def create(slot: Slot) -> Interrupt:
    """Return the part for the running server."""
    settings = Settings.from_environment()
    waits_for_step = not settings.interrupt_is_set
    return Interrupt(slot, comfyui.server(), settings.interrupt_seconds, waits_for_step)


class Interrupt(Gate):
    """Sees the requests to interrupt that all other middlewares let pass; it refuses none.

    Args:
        slot: its place among the middlewares.
        server: the host's ``PromptServer``; its queue may be replaced later.
        grace: seconds for a prompt to end by itself, 0 for no limit.
        waits_for_step: whether a sampler with slow steps has longer, because it notices an
            interrupt at the end of a step. A number that the operator has set has priority.

    Attributes:
        ended: number of prompts for which the end of the process was requested.
    """

    def __init__(self, slot: Slot, server: Any, grace: float, waits_for_step: bool = False) -> None:
        super().__init__(slot, self._note_request, posts_to({PATH}))
        self.server = server
        self.grace = grace
        self.waits_for_step = waits_for_step
        self.ended = 0
        self._watched: set[int] = set()
        self._stuck: set[int] = set()
        self._ending = False  # this process runs no more prompts and waits for its end

    def check(self) -> None:
        """Check the slot and the host's queue; raises ``ZI-PATCH-SEAM``."""
        super().check()
        queue = self.server.prompt_queue
        if not all(hasattr(queue, name) for name in QUEUE):
            raise ZImageError(
                "ZI-PATCH-SEAM",
                name="prompt_queue",
                found=type(queue).__qualname__,
                expected=", ".join(QUEUE),
            )

    def reasons(self) -> list[str]:
        """Return ``interrupt`` for ``/health/ready`` while a prompt blocks all others."""
        running = self.server.prompt_queue.currently_running
        is_blocked = any(number in running for number in self._stuck)
        return ["interrupt"] if is_blocked or self._ending else []

    def details(self) -> dict[str, float]:
        """Return the grace and the number of ended prompts for ``/health``."""
        return {"seconds": self.grace, "ended": self.ended}

    async def _note_request(self, request: web.Request) -> None:
        """Watch the prompts that run now; an interrupt does not affect later ones."""
        if not self.grace:
            return
        queue = self.server.prompt_queue
        with queue.mutex:
            running = {number: item[1] for number, item in queue.currently_running.items()}
        if not running:
            return
        try:
            requested = http_body.parse(await request.read()).get("prompt_id")
        except ZImageError:  # no body, or one that the host interprets in its own way
            requested = None
        for number, id in running.items():
            if (not requested or requested == id) and number not in self._watched:
                self._watched.add(number)
                threading.Thread(
                    target=self._watch,
                    args=(queue, number, id),
                    name="zimage-interrupt",
                    daemon=True,
                ).start()

    def _watch(self, queue: Any, number: int, id: str) -> None:
        try:
            time.sleep(max(self.grace, reaction_time() if self.waits_for_step else 0))
            while number in queue.currently_running and self.active:
                if self._end(queue, number, id):
                    return
                time.sleep(RETRY_SECONDS)
        except Exception:
            log.exception("Z-Image: %s was interrupted and may run on", id)
        finally:
            self._watched.discard(number)
            self._stuck.discard(number)

    def _end(self, queue: Any, number: int, id: str) -> bool:
        """End a prompt and ask for the end of the process; return False if that is impossible.

        Without a durable queue, waiting prompts would be lost with the process.
        """
        if not (guardian.is_heard() and hasattr(queue, "hold")):
            if number not in self._stuck:
                error = ZImageError("ZI-INTERRUPT", found=id, limit=self.grace)
                log.error("Z-Image: %s", error)
            self._stuck.add(number)
            return False
        with queue.mutex:
            if number not in queue.currently_running:
                return True
            queue.hold()
            end_prompt(queue, number, interrupted(self.server, queue.currently_running[number]))
        self.ended += 1
        self._ending = True
        log.warning("Z-Image: %s did not end %g s after it was interrupted", id, self.grace)
        reason = f"任务 {id} 不响应中断 / {id} does not react to an interrupt"
        while not guardian.ask_to_be_killed(reason):
            time.sleep(RETRY_SECONDS)
        return True

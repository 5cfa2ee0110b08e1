"""A prompt that does not react to ``POST /interrupt`` is ended with its process.

The host sets a flag and waits for the node to look at it. One that waits for something else (a
lock, a socket, a computation in C) never does, and the queue stands still while everything answers.
A thread cannot be ended, a process can: after a grace the prompt has ended as interrupted, nothing
more is begun here, and the guardian replaces the process. Without one, it is told and runs on.
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
from ..base.middleware import Gate, Slot
from ..base.prompt_events import interrupted
from ..base.registry import About
from .sampler_steps import reaction_time
from .worker_thread import end_prompt

log = logging.getLogger(__name__)

PATH = "/interrupt"
QUEUE = ("mutex", "currently_running", "task_done")
"""What is used of the host's queue."""
PAUSE = 1.0
"""Seconds between two tries to be heard by a guardian that is being replaced."""

ABOUT = About(
    part="interrupt",
    bare_host="A node that blocks ignores `/interrupt`: no prompt runs anymore, while `/health` "
    "is 200.",
    here="After 30 s (`ZIMAGE_INTERRUPT`, 0: never) the prompt ends as interrupted, and the "
    "guardian replaces the process. Without a guardian, the log and `/health` say that the queue "
    "stands still.",
)


def create(slot: Slot) -> Interrupt:
    """The watch over the running server."""
    settings = Settings.from_environment()
    waits = not settings.interrupt_is_set
    return Interrupt(slot, comfyui.server(), settings.interrupt_seconds, waits_for_step=waits)


class Interrupt(Gate):
    """Sees requests to interrupt, after everything that may refuse them; it refuses none.

    Args:
        slot: its place among the middlewares.
        server: the host's ``PromptServer``; its queue may be replaced meanwhile.
        grace: seconds for a prompt to end by itself, 0 for as long as it likes.
        waits_for_step: whether a sampler with slow steps has longer, because it notices an
            interrupt at the end of a step. A number that a person has set is honoured instead.
    """

    def __init__(self, slot: Slot, server: Any, grace: float, waits_for_step: bool = False) -> None:
        super().__init__(slot, self._see)
        self.server = server
        self.grace, self.ended = grace, 0
        self.waits_for_step = waits_for_step
        self._watched: set[int] = set()
        self._stuck: set[int] = set()
        self._gives_up = False  # this process runs nothing more, and should have been ended

    def check(self) -> None:
        """As :meth:`.middleware.Gate.check`; the queue has to be as the host's."""
        super().check()
        queue = self.server.prompt_queue
        if not all(hasattr(queue, name) for name in QUEUE):
            found = type(queue).__qualname__
            raise ZImageError("ZI-PATCH-SEAM", name="prompt_queue", found=found,
                              expected=", ".join(QUEUE))  # fmt: skip

    def reasons(self) -> list[str]:
        """For ``/health/ready``: a prompt stands in the way of all others."""
        running = self.server.prompt_queue.currently_running
        stuck = any(number in running for number in self._stuck)
        return ["interrupt"] if stuck or self._gives_up else []

    def details(self) -> dict[str, float]:
        """For ``/health``: how many prompts have been ended with their process asked for."""
        return {"seconds": self.grace, "ended": self.ended}

    async def _see(self, request: web.Request) -> None:
        """Note what runs now, so that nothing suffers that begins later."""
        if request.method != "POST" or request.path.removeprefix("/api") != PATH or not self.grace:
            return
        queue = self.server.prompt_queue
        with queue.mutex:
            running = {number: item[1] for number, item in queue.currently_running.items()}
        if not running:
            return
        try:
            meant = http_body.parse(await request.read()).get("prompt_id")
        except ZImageError:  # empty, or whatever the host takes for it
            meant = None
        for number, id in running.items():
            if (not meant or meant == id) and number not in self._watched:
                self._watched.add(number)
                about = {"name": "zimage-interrupt", "daemon": True}
                threading.Thread(target=self._watch, args=(queue, number, id), **about).start()

    def _watch(self, queue: Any, number: int, id: str) -> None:
        try:
            time.sleep(max(self.grace, reaction_time() if self.waits_for_step else 0))
            while number in queue.currently_running and self.active:
                if self._end(queue, number, id):
                    return
                time.sleep(PAUSE)
        except Exception:
            log.exception("Z-Image: %s was interrupted and may run on", id)
        finally:
            self._watched.discard(number)
            self._stuck.discard(number)

    def _end(self, queue: Any, number: int, id: str) -> bool:
        """End a prompt and ask for the end of the process; False where nobody could do that."""
        if not (guardian.is_heard() and hasattr(queue, "hold")):  # what waits would be lost with it
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
        self.ended, self._gives_up = self.ended + 1, True
        log.warning("Z-Image: %s did not end %g s after it was interrupted", id, self.grace)
        why = f"任务 {id} 不理会中断 / {id} does not react to an interrupt"
        while not guardian.ask_to_be_killed(why):
            time.sleep(PAUSE)
        return True

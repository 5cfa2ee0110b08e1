"""Group commit: prompts that are submitted at the same time share one sync of the disk.

The steps of a prompt that comes by ``POST /prompt``:

1. The queue's ``put`` checks it and hands it to :meth:`GroupCommit.add`. It is not on disk, and no
   worker can start it. The event loop goes on.
2. The writer thread takes all prompts that have come meanwhile and commits them in one transaction
   with one sync. Then the queue has them, and a worker can start them.
3. :func:`hold_back`, a middleware, has kept the answer until then. If the commit has failed, the
   client gets that error instead, and the prompt never runs.

Anybody else who calls ``put`` (a pack's thread or route) has no answer that could be kept.
:meth:`GroupCommit.add` then commits in the calling thread, so the prompt is durable on return.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ..base import refusals
from ..base.middleware import Handler
from .store import NewPrompt

PATHS = frozenset({"/prompt", "/api/prompt"})
LARGEST = 1000
"""Prompts in one transaction; SQLite limits the values of a statement."""


@dataclass(eq=False)
class Submission:
    """A prompt on its way into the queue.

    Attributes:
        prompt: for the store.
        item: for the host's queue.
        enqueue: hands an item to the host's ``put``, with the arguments of this call.
        error: why it is not in the queue after the commit.
        answered: resolved after the commit, where an answer is held back.
    """

    prompt: NewPrompt
    item: tuple[Any, ...]
    enqueue: Callable[[tuple[Any, ...]], None]
    error: BaseException | None = None
    answered: asyncio.Future[None] | None = None


class HeldAnswer:
    """The answer of one request, and the submissions that it waits for."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.submissions: list[Submission] = []
        self.waits = True


_held: ContextVar[HeldAnswer | None] = ContextVar("held", default=None)
"""Of the current request; also in threads and tasks that it has started."""


class GroupCommit:
    """The submissions that wait for the writer thread.

    Args:
        commit: keeps submissions, or sets their errors; raises none.
    """

    def __init__(self, commit: Callable[[list[Submission]], None]) -> None:
        self._commit = commit
        self._waiting: list[Submission] = []
        self._changed = threading.Condition()
        self._writer: threading.Thread | None = None

    def add(self, submission: Submission) -> None:
        """Leave a submission to the writer thread, or commit it where no answer is held back.

        Raises:
            ZImageError: as the commit, for one that was made here.
        """
        held = _held.get()
        if held is None or not held.waits:
            self._commit([submission])
            if submission.error is not None:
                raise submission.error
            return
        submission.answered = held.loop.create_future()
        held.submissions.append(submission)
        with self._changed:
            self._waiting.append(submission)
            if self._writer is None:
                self._writer = threading.Thread(
                    target=self._write, name="zimage-queue-writer", daemon=True
                )
                self._writer.start()
            self._changed.notify()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                batch = self._waiting[:LARGEST]
                del self._waiting[:LARGEST]
            self._commit(batch)
            self._answer(batch)

    def _answer(self, batch: list[Submission]) -> None:
        """Wake the requests of a batch: the event loop once, not once for each."""
        loops = {one.answered.get_loop() for one in batch if one.answered is not None}
        for loop in loops:  # a server has one
            with contextlib.suppress(RuntimeError):  # the server ends, and its loop is closed
                loop.call_soon_threadsafe(_resolve, batch, loop)


def _resolve(batch: list[Submission], loop: asyncio.AbstractEventLoop) -> None:
    for submission in batch:
        answered = submission.answered
        if answered is None or answered.get_loop() is not loop or answered.done():
            continue
        if submission.error is None:
            answered.set_result(None)
        else:
            answered.set_exception(submission.error)


@web.middleware
async def hold_back(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer ``POST /prompt`` when its prompt is durable."""
    if request.method != "POST" or request.path not in PATHS:
        return await handler(request)
    held = HeldAnswer()
    token = _held.set(held)
    try:
        response = await handler(request)
    finally:
        held.waits = False
        _held.reset(token)
    try:
        for submission in held.submissions:
            if submission.answered is not None:
                await submission.answered
    except ZImageError as error:
        return refusals.refuse(request, error)
    return response

"""Group commit: prompts that are submitted at the same time share one sync of the disk.

The queue's ``put`` leaves a prompt of ``POST /prompt`` to :meth:`GroupCommit.add`. A thread commits
all such prompts in one transaction; then the event loop queues and answers them. Prompts that come
meanwhile wait for the next commit. :func:`hold_back` keeps each answer until then; if the commit
fails, it answers with that error, and the prompt never runs.

Anybody else who calls ``put`` (a pack's thread or task) has no answer that could be kept. Such a
prompt is durable when ``put`` returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ..base import refusals
from ..base.middleware_slot import Handler

PATHS = frozenset({"/prompt", "/api/prompt"})
LARGEST = 1000
"""Prompts in one commit; SQLite limits the values of a statement."""

Commit = asyncio.Future[Exception | None]
"""Of one prompt: done when it is durable and queued, or with the error that prevented that."""

_held: dict[asyncio.Task[Any] | None, list[Commit]] = {}
"""The tasks that handle a ``POST /prompt`` now, and what their answers wait for."""


class GroupCommit:
    """Commits in a thread, one at a time.

    Args:
        write: makes prompts durable, and returns their positions.
        enqueue: queues prompts, given their positions. It runs in the event loop: in the thread it
            would start a worker that keeps the GIL, and the answer would wait for that.
    """

    def __init__(
        self,
        write: Callable[[list[str]], list[int]],
        enqueue: Callable[[list[str], list[int]], None],
    ) -> None:
        self._write = write
        self._enqueue = enqueue
        self._waiting: dict[str, Commit] = {}
        self._committer: asyncio.Task[None] | None = None

    def add(self, id: str) -> bool:
        """Leave a prompt to the next commit; return False where no answer can be kept back."""
        try:
            commits = _held[asyncio.current_task()]
        except (RuntimeError, KeyError):  # RuntimeError: a thread without an event loop
            return False
        loop = asyncio.get_running_loop()
        if self._committer is None:
            self._committer = loop.create_task(self._commit_all())
        self._waiting[id] = loop.create_future()
        commits.append(self._waiting[id])
        return True

    async def _commit_all(self) -> None:
        """Commit until no prompt waits; those that come meanwhile are for the next commit."""
        try:
            while self._waiting:
                futures = dict(islice(self._waiting.items(), LARGEST))
                for id in futures:
                    del self._waiting[id]
                error = await self._commit([*futures])
                for future in futures.values():
                    if not future.done():  # its client has left
                        future.set_result(error)
        finally:
            self._committer = None

    async def _commit(self, ids: list[str]) -> Exception | None:
        """Write and queue prompts; return what prevented it."""
        try:
            positions = await asyncio.to_thread(self._write, ids)
            self._enqueue(ids, positions)
        except Exception as error:  # noqa: BLE001 - each of its clients gets it
            return error
        return None


@web.middleware
async def hold_back(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer ``POST /prompt`` when its prompt is durable."""
    if request.method != "POST" or request.path not in PATHS:
        return await handler(request)
    task = asyncio.current_task()
    commits: list[Commit] = []
    _held[task] = commits
    try:
        response = await handler(request)
        for commit in commits:
            if (error := await commit) is not None:
                raise error
    except ZImageError as error:
        return refusals.refuse(request, error)
    finally:
        del _held[task]
    return response

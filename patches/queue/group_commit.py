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
from typing import Any

from aiohttp import web

from ...errors import ZImageError
from ..base import refusals
from ..base.middleware_slot import Handler

PATHS = frozenset({"/prompt", "/api/prompt"})
LARGEST = 1000
"""Prompts in one commit; SQLite limits the values of a statement."""

_held: dict[asyncio.Task[Any] | None, list[asyncio.Task[None]]] = {}
"""The tasks that handle a ``POST /prompt`` now, and the commits that their answers wait for."""


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
        self._busy = asyncio.Lock()
        self._ids: list[str] = []
        self._next: asyncio.Task[None] | None = None

    def add(self, id: str) -> bool:
        """Leave a prompt to the next commit; return False where no answer can be kept back."""
        try:
            commits = _held[asyncio.current_task()]
        except (RuntimeError, KeyError):  # RuntimeError: a thread without an event loop
            return False
        if self._next is None or len(self._ids) >= LARGEST:
            self._ids = []
            self._next = asyncio.create_task(self._run(self._ids))
        self._ids.append(id)
        commits.append(self._next)
        return True

    async def _run(self, ids: list[str]) -> None:
        async with self._busy:
            self._next = None  # what comes from now on is for the next commit
            positions = await asyncio.to_thread(self._write, ids)
            self._enqueue(ids, positions)


@web.middleware
async def hold_back(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer ``POST /prompt`` when its prompt is durable."""
    if request.method != "POST" or request.path not in PATHS:
        return await handler(request)
    task = asyncio.current_task()
    commits: list[asyncio.Task[None]] = []
    _held[task] = commits
    try:
        response = await handler(request)
        for commit in commits:
            await asyncio.shield(commit)  # a client that leaves cancels nothing for others
    except ZImageError as error:
        return refusals.refuse(request, error)
    finally:
        del _held[task]
    return response

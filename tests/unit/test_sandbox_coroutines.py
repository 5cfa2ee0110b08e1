"""Coroutines of a pack run in one event loop, until they end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import queue
import threading
import weakref

import pytest

from zimage_comfyui.sandbox.worker.coroutines import CoroutineThread

TIMEOUT = 20.0
number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


def test_a_waiting_coroutine_is_not_garbage_collected() -> None:
    """A coroutine ends also if nothing but itself refers to the future that it awaits."""
    coroutines = CoroutineThread()
    futures: list[weakref.ref[asyncio.Future[None]]] = []
    outcomes: queue.SimpleQueue[str] = queue.SimpleQueue()

    async def wait() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        futures.append(weakref.ref(future))
        await future
        outcomes.put("finished")

    async def collect() -> None:
        gc.collect()
        future = futures[0]()
        if future is None:
            outcomes.put("collected")
        else:
            future.set_result(None)

    coroutines.start(wait())
    coroutines.start(collect())
    assert outcomes.get(timeout=TIMEOUT) == "finished"


def test_threads_that_start_coroutines_at_once_share_one_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second thread that comes while the loop is created does not create another."""
    coroutines = CoroutineThread()
    loops: queue.SimpleQueue[asyncio.AbstractEventLoop] = queue.SimpleQueue()
    new_event_loop = asyncio.new_event_loop

    async def report() -> None:
        loops.put(asyncio.get_running_loop())

    second = threading.Thread(target=lambda: coroutines.start(report()))

    def slow_new_event_loop() -> asyncio.AbstractEventLoop:
        monkeypatch.setattr(asyncio, "new_event_loop", new_event_loop)
        second.start()
        second.join(0.2)  # it has to wait for this function
        return new_event_loop()

    monkeypatch.setattr(asyncio, "new_event_loop", slow_new_event_loop)
    coroutines.start(report())
    second.join()
    assert loops.get(timeout=TIMEOUT) is loops.get(timeout=TIMEOUT)


def test_a_coroutine_has_the_context_of_its_caller() -> None:
    """It sees the caller's context variables, and its own changes stay in it."""
    coroutines = CoroutineThread()
    seen: queue.SimpleQueue[int] = queue.SimpleQueue()

    async def report() -> None:
        seen.put(number.get())
        number.set(9)

    for value in (1, 2):
        token = number.set(value)
        coroutines.start(report())
        assert seen.get(timeout=TIMEOUT) == value
        assert number.get() == value
        number.reset(token)

"""Prompts that are submitted together share a sync; nobody hears of one before it is durable."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import comfyui
from zimage_comfyui.patches.queue import database
from zimage_comfyui.patches.queue.durable_queue import durable
from zimage_comfyui.patches.queue.group_commit import hold_back
from zimage_comfyui.patches.queue.prompt_store import Store
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue
from zimage_comfyui.tests.fakes.waiting import wait


class Disk:
    """A disk that syncs when it is let; ``syncs`` counts, ``error`` is what it fails with."""

    def __init__(self) -> None:
        self.syncs = 0
        self.error: OSError | None = None
        self.works = threading.Event()
        self.works.set()

    def fdatasync(self, _file: int) -> None:
        """In place of the system's."""
        self.syncs += 1
        self.works.wait(60)
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk of the queue."""
    made = Disk()
    monkeypatch.setattr(database.os, "fdatasync", made.fdatasync)
    return made


@pytest.fixture
def queue(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A durable queue."""
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)
    store = Store(tmp_path)
    yield durable(PromptQueue(SimpleNamespace()), store, max_waiting=30)
    store.close()


def item(id: str) -> tuple[Any, ...]:
    """What the host puts."""
    return (0, id, {}, {}, [], {})


def ids(queue: Any) -> list[str]:
    """Prompts that a worker can start."""
    return [item[1] for item in sorted(queue.queue)]


def served(queue: Any, steps: Callable[[Any], Awaitable[None]]) -> None:
    """Take steps with a client of a server whose ``POST /prompt`` puts the id of its query."""

    async def prompt(request: web.Request) -> web.Response:
        queue.put(item(request.query["id"]))
        return web.json_response({"prompt_id": request.query["id"]})

    async def alive(_request: web.Request) -> web.Response:
        return web.Response()

    async def go() -> None:
        app = web.Application(middlewares=[hold_back])
        app.add_routes([web.post("/prompt", prompt), web.get("/", alive)])
        async with TestClient(TestServer(app)) as client:
            await steps(client)

    asyncio.run(go())


async def submit(client: Any, id: str) -> tuple[int, Any]:
    """Status and JSON of a submission."""
    async with client.post("/prompt", params={"id": id}) as response:
        return response.status, await response.json()


async def until(condition: Callable[[], object]) -> None:
    """Wait beside the event loop."""
    await asyncio.get_running_loop().run_in_executor(None, wait, condition)


def test_submissions_share_a_sync(queue: Any, disk: Disk) -> None:
    """Those that come while the disk works wait for the next sync, all of them for one."""
    disk.works.clear()

    async def steps(client: Any) -> None:
        first = asyncio.create_task(submit(client, "first"))
        await until(lambda: disk.syncs == 1)
        others = [asyncio.create_task(submit(client, str(number))) for number in range(20)]
        await until(lambda: len(queue._uncommitted) == 21)
        assert (disk.syncs, ids(queue)) == (1, [])
        assert (await client.get("/")).status == 200  # the event loop goes on
        assert not any(task.done() for task in (first, *others))
        disk.works.set()
        answers = await asyncio.gather(first, *others)
        assert [answer[0] for answer in answers] == 21 * [200]

    served(queue, steps)
    assert disk.syncs == 2
    assert set(ids(queue)) == {"first", *map(str, range(20))}
    assert ids(queue)[0] == "first"


def test_a_prompt_that_is_refused_is_no_matter_of_others(queue: Any, disk: Disk) -> None:
    """They are accepted in the same commit."""
    disk.works.clear()

    async def steps(client: Any) -> None:
        first = asyncio.create_task(submit(client, "first"))
        await until(lambda: disk.syncs == 1)
        others = [asyncio.create_task(submit(client, id)) for id in "aba"]
        await until(lambda: len(queue._uncommitted) == 3)
        disk.works.set()
        answers = await asyncio.gather(first, *others)
        assert sorted(status for status, _ in answers) == [200, 200, 200, 409]

    served(queue, steps)
    assert ids(queue) == ["first", "a", "b"]


def test_a_disk_that_fails_answers_with_its_code(queue: Any, disk: Disk) -> None:
    """The prompt never runs, here or in the next process, and its id can be used again."""
    disk.error = OSError(5, "Input/output error")

    async def steps(client: Any) -> None:
        status, body = await submit(client, "a")
        assert (status, body["error"]["type"]) == (507, "ZI-QUEUE-FILE")
        assert ids(queue) == []
        disk.error = None
        assert (await submit(client, "a"))[0] == 200

    served(queue, steps)
    assert ids(queue) == ["a"]
    assert [row.id for row in queue.store.requeue_unfinished()] == ["a"]


def test_a_submission_counts_before_it_is_durable(queue: Any, disk: Disk) -> None:
    """Its id is taken, and it takes one of the places."""
    disk.works.clear()

    async def steps(client: Any) -> None:
        tasks = [asyncio.create_task(submit(client, str(number))) for number in range(30)]
        await until(lambda: len(queue._uncommitted) == 30)
        with pytest.raises(ZImageError, match="ZI-QUEUE-FULL"):
            queue.put(item("one more"))
        queue.max_waiting = 31
        with pytest.raises(ZImageError, match="ZI-PROMPT-TWICE"):
            queue.put(item("0"))
        queue.history["0"] = {"prompt": item("0")[:5], "outputs": {}}  # a pack's: ends nothing
        queue.history.settle()
        disk.works.set()
        await asyncio.gather(*tasks)

    served(queue, steps)
    assert len(queue.store.requeue_unfinished()) == 30


def test_who_has_no_answer_to_hold_back_waits(queue: Any, disk: Disk) -> None:
    """A pack's thread, also with the queue's lock: its prompt is durable on return."""
    disk.works.clear()

    def put() -> None:
        with queue.mutex:
            queue.put(item("a"))

    thread = threading.Thread(target=put)
    thread.start()
    wait(lambda: disk.syncs)
    assert thread.is_alive()
    disk.works.set()
    thread.join(60)
    assert ids(queue) == ["a"]
    disk.error = OSError(5, "Input/output error")
    with pytest.raises(ZImageError, match="ZI-QUEUE-FILE"):
        queue.put(item("b"))
    assert ids(queue) == ["a"]


def test_a_task_that_outlives_its_request_waits(queue: Any, disk: Disk) -> None:
    """The answer was sent, so the prompt is durable when ``put`` returns."""
    tasks: list[asyncio.Task[None]] = []
    answered = asyncio.Event()

    async def later() -> None:
        await answered.wait()
        queue.put(item("later"))
        assert ids(queue) == ["later"]

    async def prompt(_request: web.Request) -> web.Response:
        tasks.append(asyncio.create_task(later()))
        return web.Response()

    async def go() -> None:
        app = web.Application(middlewares=[hold_back])
        app.add_routes([web.post("/prompt", prompt)])
        async with TestClient(TestServer(app)) as client:
            assert (await client.post("/prompt")).status == 200
            answered.set()
            await tasks[0]

    asyncio.run(go())
    assert disk.syncs == 1


def test_a_client_that_leaves_cancels_nothing(queue: Any, disk: Disk) -> None:
    """Its prompt runs, and others are accepted."""
    disk.works.clear()

    async def steps(client: Any) -> None:
        task = asyncio.create_task(submit(client, "a"))
        await until(lambda: disk.syncs)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        disk.works.set()
        assert (await submit(client, "b"))[0] == 200

    served(queue, steps)
    assert ids(queue) == ["a", "b"]

"""Functions of newer hosts take more parameters: every hook fits them and hands everything on."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zimage_comfyui.config import Settings
from zimage_comfyui.patches.base import registry
from zimage_comfyui.patches.base.hooks import Argument, HookPoint, Patch, requires_more
from zimage_comfyui.patches.guardian_client import guarded
from zimage_comfyui.patches.memory import idle_unload, model_swap, prompt_memory, tokenizer_cache
from zimage_comfyui.patches.monitoring import prompt_log
from zimage_comfyui.patches.queue import (
    deadline,
    leftovers,
    node_results,
    queue_installer,
    sampler_steps,
    worker_thread,
)
from zimage_comfyui.patches.queue.prompt_store import Store
from zimage_comfyui.patches.requests import (
    history_stream,
    image_limits,
    paths,
    reconnect,
    websocket_outbox,
)
from zimage_comfyui.sandbox.host.supervisor import Supervisor
from zimage_comfyui.sandbox.loading import interception
from zimage_comfyui.sandbox.loading.loader import PackLoader
from zimage_comfyui.sandbox.policy.policy import Policy
from zimage_comfyui.tests.fakes.memory_host import CPU, MIB, Host, Patcher
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue
from zimage_comfyui.tests.fakes.seams import seams
from zimage_comfyui.tests.fakes.slots import slots

Calls = list[dict[str, Any]]


def newer(seam: HookPoint, calls: Calls, result: Any = None, *, later: bool = False) -> Any:
    """Make a function with required parameters before, between and behind those that are needed."""
    method = seam.parameters[:1] == ("self",)
    names = ["self"] if method else []
    for number, name in enumerate(seam.parameters[method:]):
        names += [f"new_{number}", name]
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    parameters.append(Parameter("asset_manager", Parameter.POSITIONAL_OR_KEYWORD))
    parameters.append(Parameter("by_name", Parameter.KEYWORD_ONLY))
    shape = inspect.Signature(parameters)

    def record(*arguments: Any, **named: Any) -> Any:
        calls.append(dict(shape.bind(*arguments, **named).arguments))
        return result

    async def record_later(*arguments: Any, **named: Any) -> Any:
        return record(*arguments, **named)

    function: Any = record_later if later else record
    function.__signature__ = shape
    return function


def without(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    """Put a module in the place of the host's."""
    module = ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


class Socket:
    """A connection that takes everything."""

    async def send(self, message: Any) -> None:
        pass

    async def close(self, code: int) -> None:
        pass


class Queue:
    """What hooks see of the host's queue."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.currently_running = {1: (0, "p", {}, {}, [])}
        self.history = {"p": {"prompt": (0, "p", {}, {}, []), "status": None}}


def guard() -> guarded.Guarded:
    """The part without a guardian: what it wraps runs as before."""
    server = SimpleNamespace(prompt_queue=SimpleNamespace())
    return guarded.Guarded(server, Settings(Path("/")), list, list)


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """HookPoint, wrap, values of the parameters it needs, and the result of the host's function."""
    Host(monkeypatch, CPU, 100 * MIB)
    without(monkeypatch, "folder_paths", get_output_directory=lambda: "/output")
    watch = deadline.Deadline(SimpleNamespace(), tmp_path / "fuse.jsonl", {})
    kept = leftovers.create()
    written = prompt_log.Logs(tmp_path)
    remembered, read, limit = (
        prompt_memory.Memory(),
        tokenizer_cache.Tokenizer(),
        image_limits.ImageLimit(100),
    )
    loading = PackLoader(Policy("off"), Supervisor(Policy("off"), tmp_path))
    monkeypatch.setattr(loading.web, "begin", lambda: None)
    place = {"module_path": str(tmp_path / "pack"), "ignore": (), "module_parent": "custom_nodes"}
    executor = SimpleNamespace(server=SimpleNamespace(), success=True)
    server = SimpleNamespace(prompt_queue=Queue(), sockets={})
    run = {"self": executor, "prompt": {}, "prompt_id": "p", "extra_data": {"client_id": "c"}}
    models = [Patcher(MIB)]
    return {
        "nodes": (worker_thread.NODE, worker_thread.translate_exits, {"obj": 1}, 2),
        "worker": (worker_thread.WORKER, worker_thread.keep_running, {"q": Queue()}, None),
        "database": (guarded.DATABASE, guard().activate, {}, None),
        "listen": (
            guarded.LISTEN,
            guard().listen,
            {"self": 1, "addresses": [], "call_on_start": None, "verbose": True},
            None,
        ),
        "guarded next": (guarded.NEXT, guard().hold_prompts, {"self": Queue()}, None),
        "name": (paths.NAMES, paths._wrap, {}, (None, None)),
        "open": (image_limits.OPEN, limit.open, {"fp": "a.png"}, SimpleNamespace(size=(1, 1))),
        "pillow": (image_limits.PILLOW, limit.pillow, {"arg": "a.png"}, 5),
        "outputs": (node_results.OUTPUTS, node_results.check_results, {"obj": 1}, ([], {})),
        "swap": (
            model_swap.LOAD,
            model_swap.Swap().make_way_before,
            {"models": models, "memory_required": 5},
            "loaded",
        ),
        "execute": (prompt_memory.RUN, remembered.run, run, None),
        "memory next": (
            prompt_memory.NEXT,
            remembered.return_before,
            {"self": 1, "timeout": 9},
            None,
        ),
        "deadline nodes": (
            deadline.NODE,
            watch.watch_sampler,
            {"prompt_id": "p", "obj": 1, "input_data_all": {}},
            2,
        ),
        "deadline execute": (
            deadline.RUN,
            watch.report_error,
            {"self": executor, "prompt_id": "p"},
            None,
        ),
        "place": (
            leftovers.SAVE_PATH,
            kept.collect_targets,
            {"output_dir": "/elsewhere"},
            ("a", "b", 1, ""),
        ),
        "done": (
            leftovers.END,
            kept.complete,
            {"self": Queue(), "history_result": {}, "status": None},
            None,
        ),
        "begin": (prompt_log.BEGIN, written.note_start, {"self": Queue()}, None),
        "end": (prompt_log.END, written.note_end, {"self": Queue(), "item_id": 1}, None),
        "reset": (
            idle_unload.RESET,
            idle_unload.Residency(SimpleNamespace(), 0).return_memory_after_reset,
            {"self": executor},
            None,
        ),
        "tokenizer": (
            tokenizer_cache.READ,
            read.share,
            {"self": SimpleNamespace(), "embedding_directory": 1, "tokenizer_data": {"a": 1}},
            None,
        ),
        "tokenizer reset": (tokenizer_cache.RESET, read.drop_before, {"self": executor}, None),
        "send": (
            reconnect.SEND,
            reconnect.PendingEvents().wrap,
            {"self": server, "event": "status", "data": {}, "sid": None},
            None,
        ),
        "socket": (
            websocket_outbox.SEND,
            websocket_outbox._wrap,
            {"function": Socket().send, "message": {}},
            None,
        ),
        "no socket": (
            websocket_outbox.SEND,
            websocket_outbox._wrap,
            {"function": print, "message": {}},
            None,
        ),
        "pack": (interception.LOADER, loading.wrap, place, True),
        "steps": (sampler_steps.CALLBACK, sampler_steps.counted, {"model": 1, "steps": 8}, print),
    }


NAMES = [
    "nodes", "worker", "database", "listen", "guarded next", "name", "open", "pillow", "outputs",
    "swap", "execute", "memory next", "deadline nodes", "deadline execute", "place", "done",
    "begin", "end", "reset", "tokenizer", "tokenizer reset", "send", "socket", "no socket", "pack",
    "steps",
]  # fmt: skip
LATER = {"nodes", "deadline nodes", "listen", "send", "socket", "no socket", "pack"}


@pytest.mark.parametrize("by_name", [False, True], ids=["by position", "by name"])
@pytest.mark.parametrize("name", NAMES)
def test_a_hook_hands_on_what_it_does_not_know(hooks, name: str, by_name: bool) -> None:
    """New required parameters before, between, behind and by name reach the host's function."""
    seam, wrap, values, result = hooks[name]
    calls: Calls = []
    original = newer(seam, calls, result, later=name in LATER)
    seam.verify(original)
    function = wrap(original)
    given = {key: values.get(key, f"a value of {key}") for key in signature(original)}
    first = [given["self"]] if "self" in given else []
    if by_name:
        named = {key: value for key, value in given.items() if key != "self"}
        found = function(*first, **named)
    else:
        *positional, last = given.values()
        found = function(*positional, by_name=last)
    if name in LATER:
        found = asyncio.run(found)
    assert calls == [given]
    assert found == result


def signature(function: Any) -> list[str]:
    """Return the names of a function's parameters."""
    return list(inspect.signature(function).parameters)


def test_every_hook_is_tried(hooks) -> None:
    """A new one has to be added above, or below with the queue's and those that only look."""
    tried = {str(seam) for seam, *_ in hooks.values()} | {
        str(seam) for seam in queue_installer.SEAMS
    }
    tried |= {str(seam) for seam in paths.CALLERS} | {str(history_stream.GET)}
    tried |= {"server.PromptServer.instance.prompt_queue.put"}
    known = {str(seam) for several in seams(registry).values() for seam in several}
    assert known | {str(interception.LOADER)} == tried
    assert set(NAMES) == set(hooks)


def test_what_a_hook_changes_is_changed_at_its_place() -> None:
    """By position, by name, and where the caller leaves it to the default."""

    def host(new: int, item: int = 5, *more: int, by_name: int = 6) -> None:
        pass

    item, by_name = Argument(host, "item"), Argument(host, "by_name")
    assert (item.of((1, 2, 3), {}), by_name.of((1, 2, 3), {})) == (2, 6)
    assert item.replaced((1, 2, 3), {}, 9) == ((1, 9, 3), {})
    assert item.replaced((1,), {"item": 2}, 9) == ((1,), {"item": 9})
    assert item.replaced((1,), {}, 9) == ((1,), {"item": 9})
    assert by_name.replaced((1, 2, 3), {}, 9) == ((1, 2, 3), {"by_name": 9})
    with pytest.raises(TypeError, match="new"):
        Argument(host, "new").of((), {})
    with pytest.raises(LookupError):
        Argument(host, "more")
    assert requires_more(host, ())
    assert not requires_more(host, ("new",))


def test_owed_events_are_sent_as_the_host_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the host passes beside event, data and client goes with those that are made again."""
    sent: list[tuple[Any, ...]] = []

    async def send(self: Any, channel: str, event: Any, data: Any, sid: Any) -> None:
        sent.append((channel, event, sid))

    without(monkeypatch, "server", PromptServer=type("PromptServer", (), {"send": send}))
    Patch(reconnect.SEND, reconnect.PendingEvents(lambda: 0.0).wrap).apply()
    server: Any = sys.modules["server"].PromptServer()
    server.sockets, server.prompt_queue = {}, SimpleNamespace(mutex=threading.RLock(), history={})
    end = {"prompt_id": "p", "timestamp": 0}
    asyncio.run(server.send("new", "execution_success", end, "c"))
    status = {"completed": True, "messages": [["execution_success", end]]}
    server.prompt_queue.history["p"] = {"status": status}
    server.sockets["c"] = SimpleNamespace(closed=False)
    asyncio.run(server.send("new", "status", {"sid": "c"}, "c"))
    events = ["execution_success", "status", "execution_success"]
    assert sent == [("new", event, "c") for event in events]


class NewerQueue(PromptQueue):
    """A queue whose every function needs something more."""

    def __init__(self, asset_manager: Any, server: Any) -> None:
        super().__init__(server)
        self.asset_manager, self.flags = asset_manager, {}
        self.seen: list[Any] = []

    def put(self, owner: str, item: Any) -> None:
        self.seen.append(owner)
        super().put(item)

    def get(self, owner: str, timeout: float | None = None) -> Any:
        self.seen.append(owner)
        return super().get(timeout)

    def get_flags(self, owner: str) -> Any:
        return {"owner": owner}

    def task_done(self, owner: str, item_id: int, history_result: Any, status: Any) -> None:
        self.seen.append(owner)
        super().task_done(item_id, history_result, status)

    def get_history(
        self, owner: str, max_items: Any = None, prompt_id: Any = None, offset: int = -1, *,
        page: int,
    ) -> Any:  # fmt: skip
        self.seen.append((owner, page))
        return super().get_history(prompt_id, max_items)

    def wipe_queue(self, owner: str) -> None:
        self.queue = []

    def delete_queue_item(self, owner: str, function: Callable[[Any], bool]) -> bool:
        self.queue = [item for item in self.queue if not function(item)]
        return True


@pytest.fixture
def host_queue(monkeypatch: pytest.MonkeyPatch) -> NewerQueue:
    """The queue of a server, whose class the host has."""
    without(monkeypatch, "execution", PromptQueue=NewerQueue)
    server = SimpleNamespace(number=0, queue_updated=lambda: None, app=web.Application())
    server.prompt_queue = NewerQueue("assets", server)
    return server.prompt_queue


def test_a_newer_queue_is_kept_on_disk(host_queue: NewerQueue, tmp_path: Path) -> None:
    """It is made although its class needs more than a server, and its functions get everything."""
    part = queue_installer.QueueInstaller(host_queue.server, Store(tmp_path))
    part.apply()
    ours = host_queue.server.prompt_queue
    assert part.active
    assert (ours.asset_manager, ours.mutex) == ("assets", host_queue.mutex)
    for number, id in enumerate("abc"):
        ours.put("me", item=(number, id, {}, {}, [], {}))
    assert host_queue.queue == []
    assert ours.delete_queue_item("me", lambda item: item[1] == "b")
    taken = ours.get("me", timeout=0.1)
    assert taken[0][1] == "a"
    ours.task_done("me", 0, {"outputs": {}}, None)
    assert ours.get_flags("me") == {"owner": "me"}
    assert list(ours.get_history("me", None, "a", page=3)) == ["a"]
    assert ours.seen == ["me"] * 5 + [("me", 3)]
    ours.wipe_queue("me")
    part.revert()
    assert host_queue.server.prompt_queue is host_queue
    store = Store(tmp_path)
    store.open()
    assert (store.requeue_unfinished(), store.ended_prompt("a") is not None) == ([], True)
    store.close()


def test_a_history_that_needs_more_is_the_host_s_to_send(host_queue: NewerQueue) -> None:
    """Without the durable queue nobody here knows what to ask the host's for."""
    server = SimpleNamespace(app=web.Application(), prompt_queue=host_queue)

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"host": 1})

    server.app.add_routes([web.get("/history", answer)])
    part = history_stream.HistoryStream(slots(server.app)["history"], server)
    part.apply()

    async def go() -> Any:
        async with TestClient(TestServer(server.app)) as client:
            return await (await client.get("/history")).json()

    assert asyncio.run(go()) == {"host": 1}
    assert part.active

"""The middlewares of all parts stand in one order, whenever and whichever parts are applied."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from zimage_comfyui.config import Settings
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import comfyui
from zimage_comfyui.patches.base.middleware_slot import Gate, Handler, MiddlewarePart
from zimage_comfyui.patches.base.registry import Registry
from zimage_comfyui.patches.install import Parts
from zimage_comfyui.patches.requests.pipeline import ERRORS, INNER, OUTER, REFUSALS, Pipeline

ORDER = [*OUTER, "host", *INNER]


def passing(name: str, passed: list[str]) -> Any:
    """A middleware that notes that a request has passed it."""

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        passed.append(name)
        return await handler(request)

    return handle


def get(app: web.Application, *steps: Callable[[], object]) -> list[int]:
    """Statuses of ``GET /``, one after each step."""

    async def go() -> list[int]:
        statuses = []
        async with TestClient(TestServer(app)) as client:
            for step in steps or (list,):
                step()
                async with client.get("/") as response:
                    statuses.append(response.status)
        return statuses

    return asyncio.run(go())


@pytest.fixture
def passed() -> list[str]:
    """What a request has passed, outermost first."""
    return []


@pytest.fixture
def app(passed: list[str]) -> web.Application:
    """A host's application with a middleware of its own."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(middlewares=[passing("host", passed)])
    app.router.add_get("/", answer)
    return app


def test_a_request_passes_all_places_in_the_order_of_the_list(
    app: web.Application, passed: list[str]
) -> None:
    """The order in which places are filled does not matter, nor that the server serves already."""
    pipeline = Pipeline()
    pipeline.install(app)

    def fill() -> None:
        for name in reversed(pipeline.slots):
            pipeline.slots[name].fill(passing(name, passed))

    assert get(app, fill) == [200]
    assert passed == ORDER


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (ERRORS, "origins"),  # a Host that cannot be parsed is 400
        ("origins", "disk"),  # a stranger learns nothing of the disks
        ("disk", "host"),  # a body may go to a temporary file on a full disk
        (REFUSALS, "malformed"),
        ("malformed", "paths"),
        ("paths", "pictures"),
        ("queue", "fuse"),  # the fuse has changed the answer that is held back
        ("fuse", "interrupt"),  # what is refused interrupts nothing
    ],
)
def test_what_has_to_come_first_comes_first(outer: str, inner: str) -> None:
    """Each pair has a reason; the rest of the order may change."""
    assert ORDER.index(outer) < ORDER.index(inner)


def test_middlewares_of_other_packs_stay_where_they_are(
    app: web.Application, passed: list[str]
) -> None:
    """Those that were there stay beside the host's, those that come later keep their order."""
    app.middlewares.append(passing("before", passed))
    pipeline = Pipeline()
    pipeline.install(app)
    app.middlewares.append(passing("after", passed))
    app.middlewares.insert(0, passing("first", passed))
    for name, slot in pipeline.slots.items():
        slot.fill(passing(name, passed))
    assert get(app) == [200]
    assert passed == ["first", *OUTER, "host", "before", *INNER, "after"]


@pytest.mark.parametrize("off", ORDER[:3] + ORDER[4:])
def test_a_part_that_is_off_leaves_its_place_empty(
    app: web.Application, passed: list[str], off: str
) -> None:
    """The others stay in order when one is reverted while the server serves."""
    pipeline = Pipeline()
    pipeline.install(app)
    for name, slot in pipeline.slots.items():
        slot.fill(passing(name, passed))
    assert get(app, list, pipeline.slots[off].clear) == [200, 200]
    assert passed == [*ORDER, *(name for name in ORDER if name != off)]


def test_a_server_that_serves_already_is_left_alone(app: web.Application) -> None:
    """Nothing is added, and a part stands aside with a code."""
    pipeline = Pipeline()
    app.freeze()
    before = list(app.middlewares)
    pipeline.install(app)
    part = MiddlewarePart(pipeline.slots["fuse"])
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        part.apply()
    assert list(app.middlewares) == before
    assert not part.active


def test_a_part_takes_only_itself_out(app: web.Application) -> None:
    """Reverting one that was never applied changes nothing of another in the same place."""
    pipeline = Pipeline()
    pipeline.install(app)
    first, second = (MiddlewarePart(pipeline.slots["fuse"]) for _ in range(2))
    first.apply()
    second.revert()
    assert (first.active, second.active) == (True, False)


def test_a_coded_error_is_answered_without_the_fuse(
    app: web.Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What any place further in raises has its status and is in the log."""
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)
    pipeline = Pipeline()
    pipeline.install(app)

    async def judge(_request: web.Request) -> None:
        raise ZImageError("ZI-QUEUE-FULL", found=2, maximum=1)

    async def fail(request: web.Request, _handler: Handler) -> web.StreamResponse:
        await judge(request)
        raise AssertionError

    slots = [slot for name, slot in pipeline.slots.items() if name in INNER and name != REFUSALS]
    fills = [lambda slot=slot: slot.fill(fail) for slot in slots]
    clears = [slot.clear for slot in slots]
    steps = [step for pair in zip(fills, clears, strict=True) for step in pair]
    assert get(app, *steps) == [429, 200] * len(slots)
    lines = (tmp_path / "fuse.jsonl").read_text().splitlines()
    assert len([line for line in lines if "ZI-QUEUE-FULL" in line]) == len(slots)


def test_a_gate_judges_before_all_that_follow(
    app: web.Application, passed: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stranger's request that the judge of origins refuses never reaches the one of the disk."""
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)
    pipeline = Pipeline()
    pipeline.install(app)
    judges: dict[str, Callable[[web.Request], Awaitable[None]]] = {}
    for name in ("disk", "origins"):

        async def judge(_request: web.Request, name: str = name) -> None:
            passed.append(name)
            raise ZImageError({"disk": "ZI-PATH", "origins": "ZI-ORIGIN"}[name],
                              found="x", expected="y")  # fmt: skip

        judges[name] = judge
        Gate(pipeline.slots[name], judge).apply()
    assert get(app) == [403]
    assert passed == ["origins"]


class PromptQueue:
    """The host's, as far as the history needs it."""

    def get_history(self, prompt_id=None, max_items=None, offset=-1):
        return {}


MIDDLEWARE_PARTS = ("origins", "history", "fuse")
"""Parts that are made of little more than their middleware."""


@pytest.mark.parametrize("order", list(itertools.permutations(MIDDLEWARE_PARTS)))
def test_parts_of_a_server_find_their_places(
    app: web.Application, order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However late each is applied, as those are that a guardian activates."""
    monkeypatch.setattr(comfyui, "folder", lambda: tmp_path)
    server = SimpleNamespace(app=app)
    arguments: Any = ModuleType("comfy.cli_args")
    arguments.args = SimpleNamespace(listen="::1", enable_cors_header=None)
    execution: Any = ModuleType("execution")
    execution.PromptQueue = type(
        "PromptQueue",
        (),
        {"get_history": lambda self, prompt_id=None, max_items=None, offset=-1: {}},
    )
    host: Any = ModuleType("server")
    host.PromptServer = SimpleNamespace(instance=server)
    for module in (arguments, execution, host):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    registry = Registry(MIDDLEWARE_PARTS)
    parts = Parts(server, Settings.from_environment({}), registry)
    for name in order:
        registry.apply((), parts.create, names={name})
    assert {state.status for state in registry.states.values()} == {"active"}
    filled = [name for name, slot in parts.pipeline.slots.items() if slot.middleware]
    assert filled == ["origins", REFUSALS, "history", "fuse"]

"""Each function of the host is replaced once; parts stand around it in the listed order."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from itertools import permutations
from types import ModuleType
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import lifecycle, registry
from zimage_comfyui.patches.base.hooks import Argument, HookPoint
from zimage_comfyui.patches.base.lifecycle import Event, Subscription

TAKEN = Event("a_host", "Queue.get", ("outer", "middle", "inner"))
RUNS = Event("a_host", "run_node", ("outer", "inner"))


class Queue:
    """A class of the host."""

    def get(self, timeout: float | None = None) -> list[str]:
        return [f"host {timeout}"]


async def run_node(prompt_id: str) -> list[str]:
    return [f"host {prompt_id}"]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the host with both functions, and the events for it."""
    module: Any = ModuleType("a_host")
    module.Queue = type("Queue", (), {"get": Queue.get})
    module.run_node = run_node
    monkeypatch.setitem(sys.modules, "a_host", module)
    monkeypatch.setattr(lifecycle, "EVENTS", (TAKEN, RUNS))
    return module


def subscription(part: str, hook: HookPoint | None = None) -> Subscription:
    """Return one that adds its name to the result."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def get(*arguments: Any, **named: Any) -> Any:
            return [part, *original(*arguments, **named)]

        return get

    return Subscription(part, hook or TAKEN.needs("self"), wrap)


@pytest.mark.parametrize("order", [*permutations(TAKEN.parts)])
def test_the_order_is_the_listed_one(host: Any, order: tuple[str, ...]) -> None:
    """It does not depend on the order in which parts are applied."""
    parts = [subscription(name) for name in order]
    for part in parts:
        part.apply()
    assert host.Queue().get() == [*TAKEN.parts, "host None"]
    parts[0].revert()
    assert host.Queue().get(5) == [*(n for n in TAKEN.parts if n != order[0]), "host 5"]


def test_each_part_comes_and_goes_alone(host: Any) -> None:
    """The host's function is replaced once, and is back when the last part has left."""
    outer, inner = subscription("outer"), subscription("inner")
    for first, second in ((outer, inner), (inner, outer)):
        for _ in range(2):
            first.apply()
        replacement = host.Queue.get
        for _ in range(2):
            second.apply()
        assert host.Queue.get is replacement
        assert host.Queue().get() == ["outer", "inner", "host None"]
        for _ in range(2):
            first.revert()
        assert (first.active, second.active) == (False, True)
        for _ in range(2):
            second.revert()
        assert host.Queue.get is Queue.get
        assert not second.active


def test_a_part_that_does_not_fit_stands_aside_alone(host: Any) -> None:
    """The error says what this part needs; parts that need less are applied."""
    unfit = subscription("inner", TAKEN.needs("self", "other"))
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM") as caught:
        unfit.apply()
    assert host.Queue.get is Queue.get
    assert "(self, timeout)" in str(caught.value)
    assert "(self, other)" in str(caught.value)
    fit = subscription("outer", TAKEN.needs("self", "timeout"))
    fit.apply()
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        unfit.apply()
    assert host.Queue().get() == ["outer", "host None"]


def test_a_part_that_cannot_wrap_the_function_changes_nothing(host: Any) -> None:
    """The host's function stays as it is."""
    part = Subscription("inner", TAKEN.needs("self"), lambda original: Argument(original, "no"))
    with pytest.raises(LookupError):
        part.apply()
    assert host.Queue.get is Queue.get
    assert not part.active


def test_every_part_sees_the_parameters_of_the_host(host: Any) -> None:
    """Behind other parts, too."""
    values: list[Any] = []

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        timeout = Argument(original, "timeout")

        def get(*arguments: Any, **named: Any) -> Any:
            values.append(timeout.of(arguments, named))
            return original(*arguments, **named)

        return get

    for name in TAKEN.parts:
        Subscription(name, TAKEN.needs("self", "timeout"), wrap).apply()
    host.Queue().get(timeout=3)
    host.Queue().get()
    assert values == [3] * 3 + [None] * 3


def test_a_coroutine_stays_one(host: Any) -> None:
    """Other packs may ask for it."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*arguments: Any, **named: Any) -> Any:
            return ["ours", *await original(*arguments, **named)]

        return run

    Subscription("inner", RUNS.needs("prompt_id"), wrap).apply()
    assert inspect.iscoroutinefunction(host.run_node)
    assert asyncio.run(host.run_node("p")) == ["ours", "host p"]


@pytest.mark.parametrize("keeps_name", [True, False])
def test_a_function_that_another_pack_replaces(host: Any, keeps_name: bool) -> None:
    """Its replacement stays; with functools.wraps, parts below it are found and joined."""
    first, second = subscription("inner"), subscription("outer")
    first.apply()
    ours = host.Queue.get

    def theirs(self: Any, timeout: Any = None) -> Any:
        return ["theirs", *ours(self, timeout)]

    if keeps_name:
        theirs = functools.wraps(ours)(theirs)
    host.Queue.get = theirs
    assert first.active is keeps_name
    second.apply()
    expected = ["theirs", "outer"] if keeps_name else ["outer", "theirs"]
    assert host.Queue().get() == [*expected, "inner", "host None"]
    second.revert()
    first.revert()
    assert host.Queue.get is theirs
    assert host.Queue().get() == ["theirs", "host None"]


def test_every_listed_part_subscribes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And every hook point of an event in a part's module belongs to a part of its list."""
    listed = {(event.module, event.path): {*event.parts} for event in lifecycle.EVENTS}
    subscribed: dict[tuple[str, str], set[str]] = {place: set() for place in listed}
    for name, module in registry.MODULES.items():
        part = importlib.import_module(f"..{module}", registry.__package__)
        for hook in vars(part).values():
            if isinstance(hook, HookPoint) and (hook.module, hook.path) in listed:
                subscribed[hook.module, hook.path].add(name)
    assert subscribed == listed


@pytest.mark.parametrize("name", registry.NAMES)
def test_every_part_has_its_row(name: str) -> None:
    """For the table of parts, in its module."""
    part = importlib.import_module(f"..{registry.MODULES[name]}", registry.__package__)
    assert part.ABOUT.part == name
    assert part.ABOUT.bare_host
    assert part.ABOUT.here

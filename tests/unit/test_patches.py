"""Patches fit the host or leave it alone; they can be undone, and one failure is one failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base.hooks import HookPoint, Patch, Patches, digest
from zimage_comfyui.patches.base.registry import Registry


class Queue:
    """A host's class."""

    def put(self, item: object, more: int = 0) -> tuple[str, object]:
        return ("host", item)


@pytest.fixture
def queue() -> Iterator[type]:
    """The class in a module of a host that was loaded."""
    module = ModuleType("a_host")
    module.Queue = type("Queue", (), {"put": Queue.put})  # pyright: ignore
    sys.modules["a_host"] = module
    yield module.Queue
    del sys.modules["a_host"]


SEAM = HookPoint("a_host", "Queue.put", ("self", "item"))


def twice(original: Callable[..., Any]) -> Callable[..., Any]:
    """A wrap that shows."""
    return lambda self, item: ("ours", original(self, item))


def test_applied_once_and_undone(queue) -> None:
    """Applying again changes nothing; afterwards the host's own function is back."""
    original = queue.put
    patch = Patch(SEAM, twice)
    assert not patch.active
    for _ in range(2):
        patch.apply()
        assert patch.active
        assert queue().put(1) == ("ours", ("host", 1))
    for _ in range(2):
        patch.revert()
        assert not patch.active
        assert queue.put is original
    patch.apply()
    assert queue().put(1) == ("ours", ("host", 1))


def test_a_patch_that_was_patched_over_stays(queue) -> None:
    """It is told as not active, and undoing it is refused."""
    patch = Patch(SEAM, twice)
    patch.apply()
    theirs = queue.put = lambda self, item: "theirs"
    assert not patch.active
    with pytest.raises(ZImageError, match="ZI-PATCH-COVERED"):
        patch.revert()
    assert queue.put is theirs


def test_two_patches_of_one_seam(queue) -> None:
    """Both are active, and they come off in the opposite order."""
    patches = [Patch(SEAM, twice), Patch(SEAM, twice)]
    original = queue.put
    for patch in patches:
        patch.apply()
    assert queue().put(1) == ("ours", ("ours", ("host", 1)))
    assert [patch.active for patch in patches] == [True, True]
    with pytest.raises(ZImageError, match="ZI-PATCH-COVERED"):
        patches[0].revert()
    for patch in reversed(patches):
        patch.revert()
    assert queue.put is original


@pytest.mark.parametrize(
    ("seam", "found"),
    [
        (HookPoint("not_loaded", "Queue.put", ()), "-"),
        (HookPoint("a_host", "Gone.put", ()), "-"),
        (HookPoint("a_host", "Queue.gone", ()), "-"),
        (HookPoint("a_host", "Queue.put", ("self", "other")), "(self, item, more)"),
        (
            HookPoint("a_host", "Queue.put", ("self",), frozenset({digest(Queue.put)})),
            "(self, item, more)",
        ),
        (HookPoint("a_host", "Queue.put", ("self", "item"), frozenset({"0" * 16})), "sha256"),
    ],
    ids=["module", "class", "function", "name", "new required parameter of a known body", "body"],
)
def test_a_different_host_is_left_alone(queue, seam: HookPoint, found: str) -> None:
    """The message names what was found; nothing was changed."""
    original = queue.put
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM") as caught:
        Patch(seam, twice).apply()
    assert found in str(caught.value)
    assert queue.put is original


def test_known_bodies_fit(queue) -> None:
    """A digest is of the source, so that it is the same in every process."""
    patch = Patch(
        HookPoint("a_host", "Queue.put", ("self",), frozenset({digest(Queue.put)})), twice
    )
    with pytest.raises(ZImageError):
        patch.check()  # a parameter without a default that the replacement does not know
    Patch(
        HookPoint("a_host", "Queue.put", ("self", "item"), frozenset({digest(Queue.put)})), twice
    ).check()
    assert len(digest(Queue.put)) == 16
    assert digest(len) == "-"


def test_several_are_applied_together_or_not_at_all(queue) -> None:
    """One seam that does not fit keeps the others off."""
    good, bad = Patch(SEAM, twice), Patch(HookPoint("a_host", "Queue.gone", ()), twice)
    with pytest.raises(ZImageError):
        Patches(good, bad).apply()
    assert not good.active
    both = Patches(good)
    both.apply()
    assert both.active
    both.revert()
    assert not both.active


class Failing:
    """A part with a bug."""

    active = False

    def apply(self) -> None:
        raise RuntimeError("bug")


def test_one_failure_is_one_failure(queue, caplog) -> None:
    """Others are applied, each state has its reason, and the log says it once."""
    parts = {
        "good": Patch(SEAM, twice),
        "unfit": Patch(HookPoint("a_host", "Queue.gone", ()), twice),
        "failing": Failing(),
        "off": Patch(SEAM, twice),
    }
    registry = Registry(tuple(parts))
    registry.apply({"off"}, parts.__getitem__)
    found = registry.describe()
    assert {name: one["status"] for name, one in found.items()} == {
        "good": "active", "unfit": "refused", "failing": "failed", "off": "off",
    }  # fmt: skip
    assert found["unfit"]["code"] == "ZI-PATCH-SEAM"
    assert found["failing"]["code"] == "ZI-PATCH-FAILED"
    assert {"zh", "en"} <= set(found["unfit"])
    assert [record.message for record in caplog.records if "ZI-PATCH-SEAM" in record.message]
    queue.put = lambda self, item: None
    assert registry.describe()["good"]["status"] == "covered"


def test_reverting_all(queue) -> None:
    """Everything is as before, and can be applied again."""
    registry = Registry(("one",))
    original = queue.put
    for _ in range(2):
        registry.apply((), lambda name: Patch(SEAM, twice))
        assert queue.put is not original
        registry.revert()
        assert queue.put is original
        assert registry.describe() == {"one": {"status": "off"}}

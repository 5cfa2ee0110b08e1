"""Limits of requests that an operator sets, and what becomes of wrong ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from zimage_comfyui.config import Settings
from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches import install
from zimage_comfyui.patches.base.limits import DEFAULTS, request_limits
from zimage_comfyui.patches.queue.durable_queue import durable
from zimage_comfyui.patches.queue.prompt_store import Store
from zimage_comfyui.tests.fakes.prompt_queue import PromptQueue


def given(text: str) -> dict[str, int]:
    """The limits of an environment."""
    return request_limits(Settings.from_environment({"ZIMAGE_LIMITS": text}).limits)


def test_nothing_given_is_the_defaults() -> None:
    """As the documentation has them."""
    assert given("") == {
        "body": 32,
        "waiting": 1000,
        "side": 4096,
        "batch": 64,
        "steps": 200,
        "work": 60_000,
    }


def test_what_is_given_counts() -> None:
    """And nothing else changes."""
    assert given("waiting=5000, steps=100") == DEFAULTS | {"waiting": 5000, "steps": 100}


@pytest.mark.parametrize("text", ["steps=0", "waiting=0.5", "stepps=100", "steps=many"])
def test_what_is_no_limit_is_told_and_left_out(text: str) -> None:
    """A server that refuses everything helps nobody."""
    assert given(text) == DEFAULTS
    settings = Settings.from_environment({"ZIMAGE_LIMITS": text})
    (invalid,) = install.invalid_values(settings, ())
    assert (invalid.name, invalid.found) == ("ZIMAGE_LIMITS", text)
    assert text in str(invalid.error)


def test_the_queue_is_as_long_as_it_may_be(tmp_path: Path) -> None:
    """One more is refused with both numbers, and nothing of it is kept."""
    store = Store(tmp_path)
    queue = durable(PromptQueue(SimpleNamespace(number=0)), store, max_waiting=2)
    for number in range(2):
        queue.put((number, f"id-{number}", {}, {}, [], {}))
    with pytest.raises(ZImageError) as raised:
        queue.put((2, "id-2", {}, {}, [], {}))
    assert raised.value.code == "ZI-QUEUE-FULL"
    assert raised.value.found["maximum"] == 2
    assert [row.id for row in store.requeue_unfinished()] == ["id-0", "id-1"]
    store.close()

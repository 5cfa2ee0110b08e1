"""Without room for both, the model before has gone before the next one is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from zimage_comfyui.errors import ZImageError
from zimage_comfyui.patches.base import handover, ram
from zimage_comfyui.patches.memory import model_swap
from zimage_comfyui.patches.memory.model_swap import ATTEMPTS, Swap
from zimage_comfyui.tests.fakes.memory_host import CPU, GPU, MIB, Host, Patcher


@pytest.fixture
def host(monkeypatch) -> Host:
    """A host with a GPU of 100 MiB."""
    return Host(monkeypatch, GPU, 100 * MIB)


@pytest.fixture
def guard(host):
    """The guard, applied."""
    part = Swap()
    part.apply()
    yield part
    part.revert()


def load(host: Host, *models: Patcher, required: float = 0) -> None:
    """The host loads models."""
    assert host.management.load_models_gpu(list(models), required) == "loaded"


def on_device(model: Patcher) -> int:
    """Bytes of its weights on the GPU."""
    return sum(weight.nbytes for weight in model.model.weights if weight.device == GPU)


def test_the_outgoing_model_goes_first(host, guard) -> None:
    """All of it, although the host would only take the part that it needs."""
    turbo, base = Patcher(60 * MIB), Patcher(60 * MIB)
    load(host, turbo)
    load(host, base)
    assert on_device(turbo) == 0
    assert on_device(base) == 60 * MIB
    assert host.collected == ["cache"]
    assert guard.details() == {"swaps": 1, "incomplete": 0}


def test_only_the_family_goes(host, guard) -> None:
    """An encoder that is in use beside it stays where it is."""
    text, turbo, base = Patcher(20 * MIB, config={}), Patcher(50 * MIB), Patcher(60 * MIB)
    load(host, text)
    load(host, turbo)
    load(host, base)
    assert (on_device(text), on_device(turbo)) == (20 * MIB, 0)


def test_with_room_for_both_nothing_is_done(host, guard) -> None:
    """Which models stay is the host's policy then."""
    turbo, base = Patcher(40 * MIB), Patcher(40 * MIB)
    load(host, turbo)
    load(host, base)
    assert on_device(turbo) == 40 * MIB
    assert (host.asked, host.collected) == ([], [])


def test_room_for_working_counts(host, guard) -> None:
    """What the host wants besides the weights has to fit as well."""
    turbo, base = Patcher(40 * MIB), Patcher(40 * MIB)
    load(host, turbo)
    host.management.load_models_gpu(models=[base], memory_required=30 * MIB)
    assert on_device(turbo) == 0


def test_other_models_stay(host, guard) -> None:
    """Those of other families, encoders, and what is loaded together."""
    text = Patcher(30 * MIB, config={})
    turbo = Patcher(50 * MIB)
    load(host, text)
    load(host, turbo)
    load(host, turbo.clone(), required=90 * MIB)
    assert on_device(text) == 30 * MIB
    assert on_device(turbo) == 50 * MIB
    load(host, Patcher(90 * MIB, config={}))
    assert on_device(turbo) == 50 * MIB
    assert guard.swaps == 0


def test_the_cpu_is_left_to_the_reserve(monkeypatch) -> None:
    """A model that the host loads there lies in RAM already."""
    monkeypatch.setattr(ram, "available", lambda: 0)
    host = Host(monkeypatch, CPU, 100 * MIB)
    part = Swap()
    part.apply()
    load(host, Patcher(60 * MIB, CPU))
    load(host, Patcher(60 * MIB, CPU))
    part.revert()
    assert (part.swaps, host.asked) == (0, [])


def test_a_model_that_stays_is_told(host, guard, caplog) -> None:
    """After three attempts, once; the next one is loaded all the same."""
    turbo, base = Patcher(60 * MIB), Patcher(60 * MIB)
    load(host, turbo)
    host.sticky = True
    load(host, base)
    assert len(host.asked) == len(host.collected) == ATTEMPTS
    assert caplog.text.count("60 of 60 MiB") == 1
    assert guard.details() == {"swaps": 1, "incomplete": 1}
    assert on_device(base) == 60 * MIB


def test_a_model_that_stays_sends_its_prompt_to_the_next_process(host, guard, monkeypatch) -> None:
    """Where there is a guardian; the next model is not loaded here."""
    asked: list[str] = []

    def leave(why: str) -> None:
        asked.append(why)
        raise handover.PromptHandedOver(why)

    monkeypatch.setattr(model_swap, "hand_over", leave)
    turbo, base = Patcher(60 * MIB), Patcher(60 * MIB)
    load(host, turbo)
    host.sticky = True
    with pytest.raises(handover.PromptHandedOver):
        load(host, base)
    assert on_device(base) == 0
    assert len(asked) == 1


def test_a_model_that_goes_late_is_waited_for(host, guard) -> None:
    """The second attempt is enough."""
    load(host, Patcher(60 * MIB))
    original = host.management.free_memory

    def late(*asked: Any) -> None:
        host.management.free_memory = original

    host.management.free_memory = late
    load(host, Patcher(60 * MIB))
    assert len(host.collected) == 2
    assert guard.incomplete == 0


def test_a_failure_of_the_guard_is_no_failure_of_the_host(host, guard, caplog) -> None:
    """Models of other packs may look different."""
    host.management.minimum_inference_memory = None
    load(host, Patcher(60 * MIB))
    load(host, Patcher(60 * MIB))
    assert "not known" in caplog.text


def test_applied_once_and_undone(host) -> None:
    """Also for callers that name all arguments."""
    original = host.management.load_models_gpu
    part = Swap()
    for _ in range(2):
        part.apply()
        assert part.active
    host.management.load_models_gpu(models=[Patcher(MIB)], memory_required=1, force=True)
    for _ in range(2):
        part.revert()
        assert not part.active
        assert host.management.load_models_gpu is original


def test_a_different_host_is_left_alone(host) -> None:
    """It loads in another way."""
    host.management.load_models_gpu = theirs = lambda patchers: None
    with pytest.raises(ZImageError, match="ZI-PATCH-SEAM"):
        Swap().apply()
    assert host.management.load_models_gpu is theirs

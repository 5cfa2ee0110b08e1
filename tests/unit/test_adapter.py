"""The adapter: silent before training, deaf to empty slots, and it knows whom it belongs to."""

from __future__ import annotations

import pytest
import torch

from zimage_comfyui.engine.adapter import Adapter, AdapterConfig, Encoded, agreement, probe

CONFIG = AdapterConfig(24, 40, 48, 32, 4, 2, 8)


def encoded(width: int, used: int, seed: int = 0) -> Encoded:
    """Random states of which the first ``used`` of 10 count."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(10) < used).expand(2, -1)
    return Encoded(torch.randn(2, 10, width, generator=generator), mask, torch.zeros(2, 10).long())


@pytest.fixture
def trained() -> Adapter:
    """Random weights, also in the last layer."""
    torch.manual_seed(0)
    adapter = Adapter(CONFIG).initialise()
    torch.nn.init.normal_(adapter.output.weight)
    return adapter


def test_untrained_says_nothing() -> None:
    """The last layer starts at zero."""
    said = Adapter(CONFIG).initialise()(encoded(24, 3), encoded(40, 5))
    assert said.shape == (2, 8, 48)
    assert not said.any()


def test_empty_slots_do_not_matter(trained: Adapter) -> None:
    """What an encoder says where no token is has no effect; where one is, it has."""
    clip, bert = encoded(24, 3), encoded(40, 5)
    noisy = bert._replace(states=torch.where(bert.mask[..., None], bert.states, 1e3))
    assert torch.equal(trained(clip, bert), trained(clip, noisy))
    assert not torch.allclose(trained(clip, bert), trained(clip, encoded(40, 6)))


def test_places_and_encoders_are_told_apart(trained: Adapter) -> None:
    """Words are joined to those of the same span of the prompt."""
    clip, bert = encoded(24, 3), encoded(40, 5)
    moved = bert._replace(places=torch.full_like(bert.places, 3))
    assert not torch.allclose(trained(clip, bert), trained(clip, moved))


def test_batch_members_do_not_mix(trained: Adapter) -> None:
    """Alone or together, the same features."""
    clip, bert = encoded(24, 3), encoded(40, 5)
    alone = trained(*(Encoded(*(t[1:] for t in part)) for part in (clip, bert)))
    torch.testing.assert_close(trained(clip, bert)[1:], alone)


def test_fingerprints() -> None:
    """A fine-tuned weight is recognised, another one and one of another size are not."""
    generator = torch.Generator().manual_seed(1)
    weight, other = torch.randn(2, 64, 48, generator=generator)
    tuned = weight + 0.2 * torch.randn(64, 48, generator=generator)
    assert agreement(probe(weight), probe(tuned)) > 0.9
    assert agreement(probe(weight), probe(weight.bfloat16())) > 0.999
    assert abs(agreement(probe(weight), probe(other))) < 0.5
    assert agreement(probe(weight), probe(other[:32])) == 0

"""The Omni layout: which token stands where, and which are clean."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from zimage_comfyui.engine import omni, omni_tokens

DIM = 8
# Embedders that leave values as they are, so that tokens can be recognised.
MODULE = SimpleNamespace(
    pad_tokens_multiple=32,
    patch_size=2,
    dim=DIM,
    cap_embedder=lambda values: values,
    x_embedder=lambda values: values[..., :DIM],
    siglip_embedder=lambda values: values,
    cap_pad_token=torch.full((1, DIM), -1.0),
    x_pad_token=torch.full((1, DIM), -2.0),
    siglip_pad_token=torch.full((1, DIM), -3.0),
)
NOISY = torch.zeros(1, 16, 4, 4)


def words(count: int) -> torch.Tensor:
    return torch.ones(1, count, DIM)


def test_the_wording_is_the_official_one() -> None:
    """Every picture stands between vision marks; the last pair is the new picture's."""
    template, around = omni.templates(2)
    whole = "".join([*around[:2], template.format("变红"), *around[2:]])
    assert whole == (
        "<|im_start|>user\n<|vision_start|><|vision_end|><|vision_start|><|vision_end|>变红"
        "<|im_end|>\n<|im_start|>assistant\n<|vision_start|><|vision_end|><|im_end|>"
    )
    assert [len(omni.templates(count)[1]) for count in range(4)] == [0, 2, 3, 4]
    assert omni.templates(0)[0] == "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def test_padding_of_a_piece_takes_no_places() -> None:
    """A slot is as long as its words, then one place each for picture and features."""
    pieces = [words(4), words(35), words(3)]
    tokens, frames = omni_tokens.captions(MODULE, pieces, 1, None, NOISY)
    assert [frame.tolist() for frame in frames] == [[5], [42], [47]]
    assert tokens.values.shape == (1, 32 + 64 + 32, DIM)
    first = tokens.places[0, :, 0]
    starts = [1, 7, 44]
    expected = [range(start, start + n) for start, n in zip(starts, (32, 64, 32), strict=True)]
    assert first.tolist() == [float(place) for part in expected for place in part]
    assert not tokens.places[..., 1:].any()
    assert (tokens.values[0, 4:32] == -1).all()


def test_only_the_references_slots_are_clean() -> None:
    """The instruction's piece and what follows it are noisy, as the new picture is."""
    tokens, _ = omni_tokens.captions(MODULE, [words(4), words(35), words(3)], 1, None, NOISY)
    assert tokens.noisy.tolist() == [False] * 32 + [True] * 96
    assert omni_tokens.picture(MODULE, NOISY, torch.tensor([5]), False).noisy.any().item() is False


def test_a_missing_piece_has_no_tokens() -> None:
    """Without a piece of its own a reference still has its two places."""
    tokens, frames = omni_tokens.captions(MODULE, [None, None, words(2)], 2, None, NOISY)
    assert [frame.tolist() for frame in frames] == [[1], [3], [7]]
    assert tokens.values.shape[1] == 32


def test_short_captions_of_a_batch_have_places_and_padding_of_their_own() -> None:
    """Slots that a caption would not have alone are not attended."""
    mask = torch.arange(40)[None] < torch.tensor([[40], [20]])
    noisy = NOISY.expand(2, -1, -1, -1)
    text = torch.ones(2, 40, DIM)
    tokens, frames = omni_tokens.captions(MODULE, [words(4), text], 1, mask, noisy)
    assert frames[1].tolist() == [7 + 40, 7 + 20]
    assert tokens.attended.sum(1).tolist() == [32 + 64, 32 + 32]
    assert (tokens.values[1, 32 + 20 :] == -1).all()


def test_without_references_padding_takes_places() -> None:
    """Text alone is laid out as the host does it."""
    _, frames = omni_tokens.captions(MODULE, [words(5)], 0, None, NOISY)
    assert frames[0].tolist() == [33]


def test_a_picture_is_read_row_by_row() -> None:
    """Places count tokens of 2 x 2 cells; padding is at the origin."""
    latent = torch.arange(4 * 6).view(1, 1, 4, 6).expand(1, 16, -1, -1).float()
    tokens = omni_tokens.picture(MODULE, latent, torch.tensor([9]), True)
    assert tokens.places[0, :6].tolist() == [[9, row, col] for row in (0, 1) for col in (0, 1, 2)]
    assert not tokens.places[0, 6:].any()
    assert tokens.values[0, :6, 0].tolist() == [0, 2, 4, 12, 14, 16]
    assert (tokens.values[0, 6:] == -2).all()


@pytest.mark.parametrize(("rows", "places"), [(1, [0]), (3, [0, 3, 7]), (4, [0, 2, 4, 7])])
def test_features_are_spread_over_the_latent_cells(rows: int, places: list[int]) -> None:
    """Whole places, rounded down, from the first cell to the last; one place behind the picture."""
    feature = torch.ones(1, rows, 1, DIM)
    reference = torch.zeros(1, 16, 8, 2)
    tokens = omni_tokens.features(MODULE, [feature], [reference], [torch.tensor([5])] * 2)
    assert tokens[0].places[0, :rows].tolist() == [[6, place, 0] for place in places]
    assert tokens[1].values.shape[1] == 32  # the new picture has none
    assert (tokens[1].values == -3).all()
    assert tokens[1].noisy.all()
    assert not tokens[0].noisy.any()

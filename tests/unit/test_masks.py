"""Masks that say where a picture is painted anew."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from zimage_comfyui.errors import ZImageError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
LATENT = torch.zeros(1, 16, 8, 8)


@pytest.fixture(scope="module")
def references(comfy_modules):
    from zimage_comfyui.engine import reference_images

    return reference_images


@pytest.mark.parametrize("shape", [(33, 47), (1, 33, 47), (1, 1, 33, 47)])
def test_a_mask_is_held_to_0_and_1(references, shape: tuple[int, ...]):
    """Of any size."""
    made = references.masked(LATENT, torch.full(shape, 7.0))
    assert made["noise_mask"].shape == (1, 1, 33, 47)
    assert made["noise_mask"].max() == 1


@pytest.mark.parametrize("shape", [(3, 33, 47), (3, 1, 33, 47)])
def test_several_masks_are_refused(references, shape: tuple[int, ...]):
    """Only one picture is changed, so no mask is left out without a word."""
    with pytest.raises(ZImageError) as caught:
        references.masked(LATENT, torch.zeros(shape))
    assert caught.value.code == "ZI-PICTURE-COUNT"
    for text in (caught.value.chinese, caught.value.english):
        assert "mask" in text
        assert "3" in text


@pytest.mark.parametrize(
    "mask",
    [torch.zeros(0, 8, 8), torch.zeros(1, 8, 0), torch.zeros(8), torch.full((1, 8, 8), torch.nan)],
)
def test_what_is_no_mask_is_refused(references, mask):
    """Before the sampler would paint nothing or black with it."""
    with pytest.raises(ZImageError, match="mask") as caught:
        references.masked(LATENT, mask)
    assert caught.value.code == "ZI-PICTURE"

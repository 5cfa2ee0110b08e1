"""Pictures at the inputs of the edit node, and masks of the sampler: none is left out silently."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from zimage_comfyui.errors import ZImageError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def references(comfy_modules):
    from zimage_comfyui.engine import reference_images

    return reference_images


def test_each_picture_of_a_batch_comes_in_the_order_of_the_inputs(references):
    """Batches of different sizes; an input without a picture is passed over."""
    batch = torch.stack([torch.full((64, 96, 3), level) for level in (0.1, 0.2)])
    images = {"image": batch, "image_2": None, "image_3": torch.full((1, 80, 64, 3), 0.3)}
    pictures = references.prepare_all(images, 3)
    assert [tuple(picture.shape) for picture in pictures] == [
        (1, 64, 96, 3),
        (1, 64, 96, 3),
        (1, 80, 64, 3),
    ]
    assert [picture.mean().item() for picture in pictures] == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("counts", "maximum", "english"),
    [
        ([2], 1, "image has 2 pictures"),
        ([4], 3, "image has 4 pictures"),
        ([2, 2], 3, "image + image_2 has 4 pictures"),
    ],
)
def test_more_than_the_maximum_is_refused(references, counts, maximum, english):
    """Before a picture is scaled or encoded."""
    images = {
        name: torch.full((count, 8, 8, 3), torch.nan)
        for name, count in zip(("image", "image_2"), counts, strict=False)
    }
    with pytest.raises(ZImageError) as caught:
        references.prepare_all(images, maximum)
    assert caught.value.code == "ZI-PICTURE-COUNT"
    assert english in caught.value.english
    assert "ImageFromBatch" in caught.value.chinese


def test_one_picture_is_never_taken_from_a_batch(references):
    """Who prepares a single picture gives a single one."""
    with pytest.raises(ZImageError, match="ZI-PICTURE-COUNT"):
        references.prepare(torch.zeros(2, 64, 64, 3))


@pytest.mark.parametrize(
    ("batch", "mask", "refused"),
    [
        (1, (8, 8), False),
        (1, (1, 1, 8, 8), False),
        (2, (1, 1, 8, 8), False),
        (2, (2, 8, 8), False),
        (1, (2, 1, 8, 8), True),
        (2, (3, 8, 8), True),
    ],
)
def test_more_masks_than_latents_are_refused(comfy_modules, batch, mask, refused):
    """The host would leave the rest out; fewer are repeated by it."""
    from zimage_comfyui.engine import sampling

    samples = torch.zeros(batch, 16, 8, 8)
    if not refused:
        sampling._check_masks(samples, torch.zeros(mask))
        return
    with pytest.raises(ZImageError) as caught:
        sampling._check_masks(samples, torch.zeros(mask))
    assert caught.value.code == "ZI-PICTURE-COUNT"
    assert "noise_mask" in caught.value.english

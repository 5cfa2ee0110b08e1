"""Restore the original's pixels, bit by bit, wherever an edit changed nothing.

The VAE and the model change every pixel a little, so an edited picture differs from its original
everywhere. Where the difference is small, the original's pixels are used. Small differences beside
a large one (shading, soft edges, a tint) belong to the edit. Two thresholds with hysteresis
separate both kinds, as in J. Canny's edge detector (1986).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from . import reference_images
from .presets import TOLERANCE, check_tolerance

_SURE = 4
"""A change starts at pixels whose difference is this many times the tolerance."""
_SMOOTHED, _EDGE = 2.0, 1.0
"""Standard deviations of Gaussian filters in pixels. The first smooths the difference, because
grain and outlines that moved by a pixel are no change; the second smooths the seam."""
_GROWN = 1
"""Pixels by which a change is dilated."""
_EXACT = 1e-4
"""Mask values this close to 0 or 1 are rounded, so that the original's bytes stay exact."""


@torch.inference_mode()
def put_back(
    edited: Tensor, original: Tensor, tolerance: float = TOLERANCE
) -> tuple[Tensor, Tensor]:
    """Restore the original in edited pictures wherever nothing changed.

    Args:
        edited: the host's IMAGE, ``[B, H, W, C]`` in 0..1 with 1, 3 or 4 channels.
        original: the host's IMAGE of any size: one picture, or one for each edited picture.
        tolerance: 0..255; 0 restores only pixels that are equal.

    Returns:
        ``[B, H, W, 3]`` in 0..1 and a mask ``[B, H, W]`` in 0..1, which is 1 for the edit.

    Raises:
        ZImageError: ``ZI-VALUE``, ``ZI-PICTURE``, ``ZI-PICTURE-COUNT``.
    """
    check_tolerance(tolerance)
    reference_images.check_shape(edited)
    reference_images.check_shape(original)
    count, height, width = edited.shape[:3]
    if original.shape[0] not in (1, count):
        expected = "1" if count == 1 else f"1 / {count}"
        raise reference_images.count_error("original", original.shape[0], expected)
    pictures = torch.empty(count, height, width, 3)
    masks = torch.empty(count, height, width)
    before = _picture(original, 0, width, height)
    for index, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
        if 0 < index < original.shape[0]:
            before = _picture(original, index, width, height)
        after = _picture(edited, index, width, height)
        mask.copy_(changed(after, before, tolerance))
        torch.lerp(before, after, mask[..., None], out=picture)
    return pictures, masks


def _picture(images: Tensor, index: int, width: int, height: int) -> Tensor:
    """Return one picture of a batch, resized, as ``[H, W, 3]`` on the CPU."""
    return reference_images.resize_to(images[index : index + 1], width, height)[0].cpu()


def changed(after: Tensor, before: Tensor, tolerance: float) -> Tensor:
    """Return the mask ``[H, W]`` in 0..1 of changes between pictures ``[H, W, 3]`` on the CPU."""
    difference = np.zeros(after.shape[:2], np.float32)
    for channel in range(3):  # channel by channel, because pictures may be large
        plane = (after[..., channel] - before[..., channel]).numpy()
        np.maximum(difference, np.abs(_smooth(plane, _SMOOTHED)), out=difference)
    possible = difference > tolerance / 255
    certain = difference > _SURE * tolerance / 255
    regions = ndimage.binary_propagation(certain, mask=possible)
    grown = ndimage.binary_dilation(regions, iterations=_GROWN)
    soft = torch.from_numpy(_smooth(grown.astype(np.float32), _EDGE))
    return torch.where(soft > 1 - _EXACT, 1.0, torch.where(soft < _EXACT, 0.0, soft))


def _smooth(plane: np.ndarray, deviation: float) -> np.ndarray:
    """Convolve a plane ``[H, W]`` with a Gaussian; edge pixels are repeated."""
    return ndimage.gaussian_filter(plane, deviation, mode="nearest", truncate=3)

"""What an edit was not to change, put back from the original to the bit.

Every edit goes through the VAE, and a model paints everything anew, so all of a picture differs a
little from the original. Where the difference stays small, the original's own pixels are better.
Small differences that belong to a great one (shading, soft edges, a tint) are part of the change:
both are told apart by two thresholds with hysteresis, as J. Canny does it with edges (1986).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from . import reference_images
from .presets import TOLERANCE, check_tolerance

_SURE = 4
"""A change begins where the difference is this many times the tolerance."""
_SMOOTHED, _EDGE = 2.0, 1.0
"""Standard deviations in pixels: of the difference before it is judged, since grain and outlines
that moved by a pixel are no change; and of the seam between both pictures."""
_GROWN = 1
"""Pixels around a change that belong to it."""
_EXACT = 1e-4
"""Nearer than this to 0 or 1 the mask is that: rounding would cost the original's exact bytes."""


@torch.inference_mode()
def put_back(
    edited: Tensor, original: Tensor, tolerance: float = TOLERANCE
) -> tuple[Tensor, Tensor]:
    """The edited pictures with the original wherever nothing changed, and where it did.

    Args:
        edited: the host's IMAGE, ``[B, H, W, C]`` in 0..1 with 1, 3 or 4 channels.
        original: the host's IMAGE, of any size: one for all, or one for each edited picture.
        tolerance: 0..255; 0 keeps the edit as it is but for pixels that are the same anyway.

    Returns:
        ``[B, H, W, 3]`` and a mask ``[B, H, W]`` in 0..1, 1 where the edit shows.

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
    before = reference_images.brought_to(original[:1], width, height)[0].cpu()
    pictures, masks = torch.empty(count, height, width, 3), torch.empty(count, height, width)
    for number, (picture, mask) in enumerate(zip(pictures, masks, strict=True)):
        if 0 < number < original.shape[0]:
            before = reference_images.brought_to(original[number : number + 1], width, height)[
                0
            ].cpu()
        after = reference_images.brought_to(edited[number : number + 1], width, height)[0].cpu()
        mask.copy_(changed(after, before, tolerance))
        torch.lerp(before, after, mask[..., None], out=picture)
    return pictures, masks


def changed(after: Tensor, before: Tensor, tolerance: float) -> Tensor:
    """Mask ``[H, W]`` in 0..1 of what differs between two pictures ``[H, W, 3]`` on the CPU."""
    difference = np.zeros(after.shape[:2], np.float32)
    for channel in range(3):  # one after the other: pictures may be large
        plane = (after[..., channel] - before[..., channel]).numpy()
        np.maximum(difference, np.abs(_smooth(plane, _SMOOTHED)), out=difference)
    some, sure = difference > tolerance / 255, difference > _SURE * tolerance / 255
    whole = ndimage.binary_propagation(sure, mask=some)
    grown = ndimage.binary_dilation(whole, iterations=_GROWN)
    soft = torch.from_numpy(_smooth(grown.astype(np.float32), _EDGE))
    return torch.where(soft > 1 - _EXACT, 1.0, torch.where(soft < _EXACT, 0.0, soft))


def _smooth(plane: np.ndarray, deviation: float) -> np.ndarray:
    """A plane ``[H, W]`` convolved with a Gaussian; edges are repeated."""
    return ndimage.gaussian_filter(plane, deviation, mode="nearest", truncate=3)

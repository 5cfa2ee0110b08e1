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
from torch.nn import functional

from ..errors import ZImageError
from . import references

TOLERANCE = 12.0
"""Difference, of 255, up to which a pixel may count as unchanged, when nobody says otherwise."""
_SURE = 2
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
        original: the host's IMAGE, of any size; of several, the first counts.
        tolerance: 0..255; 0 keeps the edit as it is but for pixels that are the same anyway.

    Returns:
        ``[B, H, W, 3]`` and a mask ``[B, H, W]`` in 0..1, 1 where the edit shows.

    Raises:
        ZImageError: ``ZI-VALUE``, ``ZI-PICTURE``.
    """
    check_tolerance(tolerance)
    references.check_shape(edited)
    height, width = edited.shape[1:3]
    edited = torch.cat([references.brought_to(one[None], width, height) for one in edited])
    before = references.brought_to(original, width, height).to(edited)
    pictures, masks = [], []
    for picture in edited:
        mask = changed(picture, before[0], tolerance)
        masks.append(mask)
        pictures.append(torch.lerp(before[0], picture, mask[..., None]))
    return torch.stack(pictures), torch.stack(masks)


def changed(after: Tensor, before: Tensor, tolerance: float) -> Tensor:
    """Mask ``[H, W]`` in 0..1 of what differs between two pictures ``[H, W, 3]``."""
    difference = _smooth((after - before).movedim(-1, 0), _SMOOTHED).abs().amax(0) * 255
    some, sure = difference > tolerance, difference > _SURE * tolerance
    whole = ndimage.binary_propagation(sure.cpu().numpy(), mask=some.cpu().numpy())
    grown = ndimage.binary_dilation(whole, iterations=_GROWN)
    mask = torch.from_numpy(grown.astype(np.float32)).to(after)
    soft = _smooth(mask[None], _EDGE)[0]
    return torch.where(soft > 1 - _EXACT, 1.0, torch.where(soft < _EXACT, 0.0, soft))


def _smooth(planes: Tensor, deviation: float) -> Tensor:
    """Planes ``[C, H, W]``, each convolved with a Gaussian; edges are repeated."""
    reach = int(3 * deviation + 0.5)
    steps = torch.arange(-reach, reach + 1, dtype=planes.dtype, device=planes.device)
    weights = torch.exp(-0.5 * (steps / deviation) ** 2)
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    padded = functional.pad(planes[:, None], (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, weights)
    return functional.conv2d(rows, weights.movedim(-1, -2))[:, 0]


def check_tolerance(tolerance: float) -> None:
    """Raises ``ZI-VALUE`` for a tolerance that is no number from 0 to 255."""
    if not 0 <= tolerance <= 255:
        raise ZImageError("ZI-VALUE", name="tolerance", found=tolerance, expected="0 - 255")

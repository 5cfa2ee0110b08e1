"""Pictures of the user: check them, resize them for the model, and encode them as latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from . import host
from .sizes import AREA

SMALLEST, LARGEST = 64, 16384
"""Accepted lengths of a side in pixels."""
CELL = 16


def size_for(width: int, height: int) -> tuple[int, int]:
    """Return width and height of about the same shape: multiples of 16, at most ``AREA`` pixels.

    Raises:
        ZImageError: ``ZI-PICTURE-SIZE``.
    """
    if min(width, height) < SMALLEST or max(width, height) > LARGEST:
        raise ZImageError(
            "ZI-PICTURE-SIZE", found=f"{width}×{height}", minimum=SMALLEST, maximum=LARGEST
        )
    scale = min(1.0, (AREA / (width * height)) ** 0.5)
    return _fit(width * scale), _fit(height * scale)


def _fit(side: float) -> int:
    return max(SMALLEST, round(side / CELL) * CELL)


def prepare_all(images: Mapping[str, Tensor | None], maximum: int) -> list[Tensor]:
    """Prepare every picture of several inputs, see :func:`prepare`.

    Args:
        images: the host's IMAGE by the name of its input, None for an input without a picture. Each
            picture of a batch counts.
        maximum: highest number of pictures.

    Raises:
        ZImageError: ``ZI-PICTURE-COUNT`` for more, or as :func:`prepare`.
    """
    connected = {name: image for name, image in images.items() if image is not None}
    for image in connected.values():
        check_shape(image)
    count = sum(image.shape[0] for image in connected.values())
    if count > maximum:
        expected = "1" if maximum == 1 else f"1 … {maximum}"
        raise count_error(" + ".join(connected), count, expected)
    return [prepare(picture) for image in connected.values() for picture in image.split(1)]


def prepare(image: Tensor) -> Tensor:
    """Convert one picture to ``[1, H, W, 3]`` in 0..1, H and W multiples of 16.

    Args:
        image: the host's IMAGE of one picture, ``[1, H, W, C]`` with 1, 3 or 4 channels;
            transparent parts become white.

    Raises:
        ZImageError: ``ZI-PICTURE`` for anything else, ``ZI-PICTURE-SIZE``, ``ZI-PICTURE-COUNT``.
    """
    check_shape(image)
    return resize_to(image, *size_for(image.shape[2], image.shape[1]))


def resize_to(image: Tensor, width: int, height: int) -> Tensor:
    """Convert one picture like :func:`prepare`, scaled and cropped to a size in pixels."""
    check_shape(image)
    if image.shape[0] > 1:
        raise count_error("image", image.shape[0], "1")
    picture = image.float()
    if not torch.isfinite(picture).all():
        raise ZImageError("ZI-PICTURE", found="NaN", expected="0 … 1")
    channels = picture.shape[3]
    if channels == 4:
        picture = picture[..., :3] * picture[..., 3:] + (1 - picture[..., 3:])
    picture = picture.expand(-1, -1, -1, 3) if channels == 1 else picture
    if (width, height) != (picture.shape[2], picture.shape[1]):
        picture = host.resize(picture, width, height)
    return picture.clamp(0, 1)


def check_shape(image: Tensor) -> None:
    """Refuse a tensor that is not an IMAGE of the host.

    Raises:
        ZImageError: ``ZI-PICTURE``.
    """
    shape = list(image.shape)
    if len(shape) != 4 or 0 in shape or shape[3] not in (1, 3, 4):
        raise ZImageError("ZI-PICTURE", found=f"{shape}", expected="[1, H, W, 3]")


def count_error(name: str, found: int, expected: str) -> ZImageError:
    """Return ``ZI-PICTURE-COUNT`` for an input with too many pictures."""
    return ZImageError("ZI-PICTURE-COUNT", name=name, found=found, expected=expected)


def encode(vae: Any, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Encode prepared pictures as latents ``[1, 16, H/8, W/8]``."""
    return [host.encode_picture(vae, picture) for picture in pictures]


TO_CHANGE = "zimage_picture_to_change"
"""Marks a LATENT of a picture to repaint; denoise 1 would discard the picture and is refused."""


def start(latent: Tensor, mask: Tensor | None) -> dict[str, Any]:
    """Return the LATENT of a picture that Turbo or Base repaint; a mask limits the area."""
    return masked(latent, mask) | ({TO_CHANGE: True} if mask is None else {})


def masked(latent: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """Return a LATENT for the sampler; a mask limits the area that is repainted.

    Args:
        latent: ``[1, 16, H/8, W/8]``.
        mask: the host's MASK, ``[1, H, W]`` or ``[H, W]`` in 0..1, of any size; 1 is repainted.

    Raises:
        ZImageError: ``ZI-PICTURE`` for a mask without pixels or with values that are not finite;
            ``ZI-PICTURE-COUNT`` for several masks.
    """
    if mask is None:
        return {"samples": latent}
    shape = list(mask.shape)
    if len(shape) < 2 or 0 in shape:
        raise ZImageError(
            "ZI-PICTURE", found=Bilingual(f"遮罩 {shape}", f"mask {shape}"), expected="[1, H, W]"
        )
    plain = mask.reshape(-1, 1, *shape[-2:]).float()
    if plain.shape[0] > 1:
        raise count_error("mask", plain.shape[0], "1")
    if not torch.isfinite(plain).all():
        raise ZImageError(
            "ZI-PICTURE", found=Bilingual("遮罩含有 NaN", "mask: NaN"), expected="0 … 1"
        )
    return {"samples": latent, "noise_mask": plain.clamp(0, 1)}

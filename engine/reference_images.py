"""Pictures that people give: brought to a size that the model reads, then to latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ZImageError
from . import host
from .sizes import AREA

SMALLEST, LARGEST = 64, 16384
"""Pixels on a side that are accepted."""
CELL = 16


def size_for(width: int, height: int) -> tuple[int, int]:
    """Width and height, multiples of 16, of at most ``AREA`` pixels and nearly that shape.

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
    """Return every picture of several inputs, each as :func:`prepare` makes it.

    Args:
        images: the host's IMAGE by the name of its input; each picture of a batch is one of its
            own. An input without a picture is None.
        maximum: how many pictures there may be.

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
    """One picture ``[1, H, W, 3]`` in 0..1, H and W multiples of 16.

    Args:
        image: the host's IMAGE of one picture, ``[1, H, W, C]`` with 1, 3 or 4 channels;
            transparent parts become white.

    Raises:
        ZImageError: ``ZI-PICTURE`` for anything else, ``ZI-PICTURE-SIZE``, ``ZI-PICTURE-COUNT``.
    """
    check_shape(image)
    return brought_to(image, *size_for(image.shape[2], image.shape[1]))


def brought_to(image: Tensor, width: int, height: int) -> Tensor:
    """As :func:`prepare`, at a given size: scaled, and cut at the edges where shapes differ."""
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
    """Raises ``ZI-PICTURE`` for what is no IMAGE of the host."""
    shape = list(image.shape)
    if len(shape) != 4 or 0 in shape or shape[3] not in (1, 3, 4):
        raise ZImageError("ZI-PICTURE", found=f"{shape}", expected="[1, H, W, 3]")


def count_error(name: str, found: int, expected: str) -> ZImageError:
    """Return ``ZI-PICTURE-COUNT`` for an input with more pictures than can be used."""
    return ZImageError("ZI-PICTURE-COUNT", name=name, found=found, expected=expected)


def encode(vae: Any, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Latents ``[1, 16, H/8, W/8]`` of prepared pictures."""
    return [host.encode_picture(vae, picture) for picture in pictures]


TO_CHANGE = "zimage_picture_to_change"
"""In a LATENT that is a picture to start from: with denoise 1 nothing of it would be left."""


def start(latent: Tensor, mask: Tensor | None) -> dict[str, Any]:
    """A LATENT of a picture that Turbo or Base are to change; with a mask, only that part."""
    return masked(latent, mask) | ({TO_CHANGE: True} if mask is None else {})


def masked(latent: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """A LATENT to start from; with a mask (1 = to be painted) only that part changes.

    Args:
        mask: the host's MASK, ``[1, H, W]`` or ``[H, W]`` in 0..1, of any size.

    Raises:
        ZImageError: ``ZI-PICTURE`` for a mask without a pixel, or with something that is no number;
            ``ZI-PICTURE-COUNT`` for several masks.
    """
    if mask is None:
        return {"samples": latent}
    shape = list(mask.shape)
    if len(shape) < 2 or 0 in shape:
        raise ZImageError("ZI-PICTURE", found=f"mask {shape}", expected="[1, H, W]")
    plain = mask.reshape(-1, 1, *shape[-2:]).float()
    if plain.shape[0] > 1:
        raise count_error("mask", plain.shape[0], "1")
    if not torch.isfinite(plain).all():
        raise ZImageError("ZI-PICTURE", found="mask: NaN", expected="0 … 1")
    return {"samples": latent, "noise_mask": plain.clamp(0, 1)}

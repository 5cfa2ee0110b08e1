"""Decode latents to 8-bit pictures, one at a time to save device memory."""

from __future__ import annotations

import logging
from typing import Any

import torch

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from . import host, strips
from .architecture import VAE, wrong_kind
from .compiled_decoder import decoder_of

log = logging.getLogger(__name__)

TILE_ABOVE = 1024 * 1024
"""Pixels above which ``auto`` decodes in strips."""
TILING = ("auto", "on", "off")
"""Values of the node's ``tiling``."""


@torch.inference_mode()
def decode(vae: Any, samples: torch.Tensor, tiling: str = "auto") -> torch.Tensor:
    """Decode to pictures ``[B, H, W, 3]``: float32 in [0, 1] on the CPU, multiples of 1/255.

    Args:
        vae: the host's VAE.
        samples: ``[B, 16, H/8, W/8]``, as the host's samplers return them.
        tiling: ``on``, and ``auto`` above 1024x1024, decode in strips (see :mod:`.strips`).

    Raises:
        ZImageError: ``ZI-VALUE`` or ``ZI-MODEL-KIND``.
    """
    return decode_bytes(vae, samples, tiling).to(torch.float32).div_(255.0)


@torch.inference_mode()
def decode_bytes(vae: Any, samples: torch.Tensor, tiling: str = "auto") -> torch.Tensor:
    """Decode to ``uint8`` pictures ``[B, H, W, 3]`` on the CPU; else like :func:`decode`."""
    if tiling not in TILING:
        raise ZImageError("ZI-VALUE", name="tiling", found=tiling, expected=" | ".join(TILING))
    _check(vae, samples)
    height, width = samples.shape[2] * 8, samples.shape[3] * 8
    in_strips = tiling == "on" or (tiling == "auto" and height * width > TILE_ABOVE)
    pictures = torch.empty((samples.shape[0], height, width, 3), dtype=torch.uint8)
    host.load_for_decoding(vae, samples[:1].shape)
    for index in range(samples.shape[0]):
        latent = samples[index : index + 1].to(device=vae.device, dtype=vae.vae_dtype)
        pictures[index] = _to_bytes(vae, _decode_one(vae, latent, in_strips))[0]
    return pictures


def _decode_one(vae: Any, latent: torch.Tensor, in_strips: bool) -> torch.Tensor:
    """Return decoder output ``[1, 3, H, W]``; decode in strips when memory does not suffice."""
    if not in_strips:
        try:
            return decoder_of(vae)(latent)
        except host.OUT_OF_MEMORY:
            log.warning("not enough memory to decode in one piece; decoding in strips")
    return strips.decode(vae, latent)  # outside the handler, whose traceback keeps tensors alive


def _to_bytes(vae: Any, raw: torch.Tensor) -> torch.Tensor:
    """Convert decoder output ``[B, 3, H, W]`` to ``[B, H, W, 3]`` uint8 on the CPU, rounded."""
    return vae.process_output(raw.float()).mul_(255.0).round_().to(torch.uint8).movedim(1, -1).cpu()


def _check(vae: Any, samples: torch.Tensor) -> None:
    """Refuse a VAE or a latent that is not for pictures, or does not have 16 channels.

    Raises:
        ZImageError: ``ZI-MODEL-KIND`` for the VAE, ``ZI-VALUE`` for the latent.
    """
    channels = getattr(vae, "latent_channels", None)
    is_video = getattr(vae, "latent_dim", 2) != 2
    if channels != 16 or is_video:
        found = Bilingual(
            f"{channels} 通道" + ("，用于视频" if is_video else ""),
            f"{channels} channels" + (", video" if is_video else ""),
        )
        raise wrong_kind("vae", VAE, found)
    if samples.ndim != 4 or samples.shape[1] != 16 or 0 in samples.shape:
        expected = "[B, 16, H/8, W/8]"
        raise ZImageError("ZI-VALUE", name="samples", found=list(samples.shape), expected=expected)

"""Run the host's sampler with the shift of Z-Image; results equal those of KSampler bit by bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from . import editing, host
from .architecture import DIFFUSION, wrong_kind
from .conditioning import Conditioning, check_width
from .presets import SamplingSettings
from .reference_images import TO_CHANGE, count_error
from .schedule import official_sigmas
from .sizes import MAX_BATCH, MAXIMUM

log = logging.getLogger(__name__)
Latent = dict[str, Any]
SMALL_WIDTH, SMALL_AREA = 1024, 256 * 256
"""Models below this width were trained on pictures with sides of about 128 pixels."""
SAMPLERS: list[str] = list(comfy.samplers.KSampler.SAMPLERS)
OFFICIAL = "official"
SCHEDULERS: list[str] = [OFFICIAL, *comfy.samplers.KSampler.SCHEDULERS]


@torch.inference_mode()
def sample(
    model: Any,
    positive: Conditioning,
    negative: Conditioning | None,
    latent: Latent,
    settings: SamplingSettings,
    callback: Callable[..., None] | None = None,
) -> Latent:
    """Denoise ``latent["samples"]`` (``[B, 16, H/8, W/8]``) and return a new LATENT.

    Noise, schedule and sampler are the host's own. They are called in the same way as by its
    KSampler node after a ModelSamplingAuraFlow node, so the results are equal bit by bit.

    Args:
        model: the host's MODEL of a Z-Image.
        positive: conditioning of the prompt.
        negative: conditioning of the negative prompt; None is allowed only with cfg 1.
        latent: the host's LATENT.
        settings: see :func:`.presets.resolve`.
        callback: the host's step callback, see :func:`.host.preview_callback`.

    Raises:
        ZImageError: ``ZI-VALUE``, ``ZI-TEXT-WIDTH``, or ``ZI-MODEL-KIND`` for another model.
    """
    check_inputs(model, positive, negative, latent, settings)
    shifted = host.with_shift(model, settings.shift)
    samples = comfy.sample.fix_empty_latent_channels(shifted, latent["samples"])
    noise = comfy.sample.prepare_noise(samples, settings.seed, latent.get("batch_index"))
    official = settings.scheduler == OFFICIAL
    out = latent.copy()
    out["samples"] = comfy.sample.sample(
        shifted,
        noise,
        settings.steps,
        settings.cfg,
        settings.sampler,
        "simple" if official else settings.scheduler,
        positive,
        positive if negative is None else negative,
        samples,
        denoise=settings.denoise,
        noise_mask=latent.get("noise_mask"),
        sigmas=_official(settings) if official else None,
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=settings.seed,
    )
    return out


def _official(settings: SamplingSettings) -> torch.Tensor:
    return official_sigmas(settings.steps, settings.shift, settings.denoise)


def remark(model: Any, width: int, height: int) -> str:
    """Return a warning about a small bundled model at too large a size; empty otherwise."""
    if host.model_width(model) >= SMALL_WIDTH or width * height <= SMALL_AREA:
        return ""
    log.warning("Z-Image: a small model at %d×%d gives noise; use about 128×128", width, height)
    return (
        "\n小模型只能生成约 128×128 的图片，在这个尺寸下只会得到噪点。"
        "\nA small model generates pictures of about 128×128; at this size, it gives noise."
    )


def check_inputs(
    model: Any,
    positive: Conditioning,
    negative: Conditioning | None,
    latent: Latent,
    settings: SamplingSettings,
) -> None:
    """Refuse inputs for which the host would fail without a helpful message.

    Raises:
        ZImageError: as :func:`sample`.
    """
    width = host.caption_width(model)
    if width is None:
        raise wrong_kind("model", DIFFUSION, type(model.model).__name__)
    editing.check_references(model, positive, negative)
    check_width(positive, width)
    if negative is not None:
        check_width(negative, width)
    elif settings.cfg != 1:
        expected = Bilingual(
            f"已连接（cfg = {settings.cfg:g}，不是 1）",
            f"a connection, because cfg = {settings.cfg:g} (not 1)",
        )
        raise _invalid_value("negative", "—", expected)
    if settings.sampler not in SAMPLERS:
        raise _invalid_value("sampler_name", settings.sampler, ", ".join(SAMPLERS))
    if settings.scheduler not in SCHEDULERS:
        raise _invalid_value("scheduler", settings.scheduler, ", ".join(SCHEDULERS))
    if latent.get(TO_CHANGE) and settings.denoise == 1 and "noise_mask" not in latent:
        raise ZImageError("ZI-EDIT-DENOISE")
    _check_latent(latent["samples"])
    _check_masks(latent["samples"], latent.get("noise_mask"))


def _check_latent(samples: torch.Tensor) -> None:
    """Apply the limits of :mod:`.sizes`, also to latents of other nodes."""
    shape = tuple(samples.shape)
    if len(shape) != 4 or any(side % 2 for side in shape[2:]) or 0 in shape:
        raise _invalid_value(
            "latent_image", list(shape), "[B, 16, H/8, W/8], H % 16 == W % 16 == 0"
        )
    if shape[1] != 16 and samples.any():  # the host corrects the channels of empty latents
        raise _invalid_value("latent_image", list(shape), "[B, 16, H/8, W/8]")
    if max(shape[2:]) * 8 > MAXIMUM or shape[0] > MAX_BATCH:
        expected = f"[B, 16, H/8, W/8], B ≤ {MAX_BATCH}, H ≤ {MAXIMUM}, W ≤ {MAXIMUM}"
        raise _invalid_value("latent_image", list(shape), expected)


def _check_masks(samples: torch.Tensor, mask: torch.Tensor | None) -> None:
    """Refuse more masks than latents; the host would ignore the others."""
    count = 1 if mask is None or mask.ndim < 3 else mask.shape[:-2].numel()
    if count > samples.shape[0]:
        expected = "1" if samples.shape[0] == 1 else f"1 … {samples.shape[0]}"
        raise count_error("noise_mask", count, expected)


def _invalid_value(name: str, found: object, expected: Bilingual | str) -> ZImageError:
    return ZImageError("ZI-VALUE", name=name, found=found, expected=expected)

"""Load a diffusion model, a text encoder or a VAE from a user's file, or say why it cannot be.

Every file is judged by its headers first (:mod:`.inspection`); only then are weights read.
Full-size files go through the host's own loaders, every other size of the same architecture is
described to the host explicitly.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import ZImageError
from . import embedding, host, inspection, layouts
from .presets import AUTO, BASE, EDIT, OPTION, PRESETS, TURBO, VARIANTS
from .weights import StateDict

log = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype | None] = {
    "auto": None,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}


def load_model(path: str | os.PathLike[str], variant: str = AUTO, dtype: str = "auto") -> Any:
    """A diffusion model as the host's ``ModelPatcher`` (MODEL), its variant travelling on it.

    Args:
        path: a safetensors file in ComfyUI's or the official layout, or a folder of shards.
        variant: ``turbo``, ``base``, ``edit``, or ``auto`` (metadata, scheduler file, file name).
        dtype: a key of :data:`DTYPES`; ``auto`` is the host's choice for the device.

    Raises:
        ZImageError: ``ZI-FILE-*``, ``ZI-MODEL-KIND``, ``ZI-MODEL-KEYS`` or ``ZI-VALUE``.
    """
    target = _dtype(dtype)
    plan = inspection.diffusion(path)
    chosen = _variant(variant, plan.declared, Path(path))
    state = layouts.to_comfy(plan.weights.load(), plan.name)
    for name in layouts.MAY_BE_MISSING & (plan.expected.keys() - state.keys()):
        state[name] = torch.ones(plan.expected[name])  # never used; silences the host's warning
    model = None
    if plan.full:
        model = host.load_diffusion(state, target, plan.weights.metadata)
    if model is None:
        model = host.build_diffusion(plan.config, state, target, plan.references)
    model.model_options[OPTION] = chosen
    return model


def load_text_encoder(path: str | os.PathLike[str], expected_width: int | None = None) -> Any:
    """A Qwen3 text encoder as the host's CLIP, in the precision of the file.

    Args:
        expected_width: the diffusion model's ``cap_feat_dim``, compared before weights are read.

    Raises:
        ZImageError: as :func:`load_model`, or ``ZI-TEXT-WIDTH``.
    """
    plan = inspection.text_encoder(path, expected_width)
    state: dict[str, Any] = embedding.expand(
        layouts.text_to_comfy(plan.weights.load()), host.VOCABULARY, plan.name
    )
    if not plan.full:
        return host.build_text_encoder(plan.config, state)
    quantised = plan.weights.metadata.get("_quantization_metadata")
    if quantised is not None:
        state["_quantization_metadata"] = quantised  # where the host's loader looks for it
    return host.load_text_encoder(state)


def load_vae(path: str | os.PathLike[str], dtype: str = "auto") -> Any:
    """A 16-channel autoencoder as the host's VAE.

    Args:
        dtype: ``fp32`` computes in float32; everything else is the host's choice.

    Raises:
        ZImageError: as :func:`load_model`.
    """
    target = torch.float32 if _dtype(dtype) is torch.float32 else None
    plan = inspection.vae(path)
    state = layouts.vae_to_comfy(plan.weights.load())
    if plan.full:
        return host.build_vae(state, None, target)  # the host knows it by itself, and a TAESD
    if "quant_conv.weight" not in state:
        _add_identity_quant(state)
    return host.build_vae(state, plan.config, target)


def variant_of(model: Any) -> str:
    """A key of the presets: what the loader wrote on a MODEL; a stock-loaded one counts as turbo.

    The host's default shift for Z-Image is Turbo's as well.
    """
    return model.model_options.get(OPTION, TURBO)


def _dtype(name: str) -> torch.dtype | None:
    if name not in DTYPES:
        raise ZImageError("ZI-VALUE", name="dtype", found=name, expected=" | ".join(DTYPES))
    return DTYPES[name]


def _variant(requested: str, declared: Mapping[str, Any], path: Path) -> str:
    """Asked for, else declared in the file, else the official scheduler's shift, else the name."""
    if requested in PRESETS:
        return requested
    if requested != AUTO:
        expected = " | ".join(VARIANTS)
        raise ZImageError("ZI-VALUE", name="variant", found=requested, expected=expected)
    if declared.get("variant") in PRESETS:
        return str(declared["variant"])
    scheduler = path.parent / "scheduler" / "scheduler_config.json"
    if path.is_dir() and scheduler.is_file():
        try:
            shift = json.loads(scheduler.read_text(encoding="utf-8")).get("shift")
            return TURBO if shift == 3.0 else BASE
        except (OSError, ValueError, AttributeError):
            log.warning("%s is not readable; the name decides the variant", scheduler)
    name = path.parent.name if path.is_dir() else path.name
    if "edit" in name.lower() or "omni" in name.lower():
        return EDIT
    return TURBO if "turbo" in name.lower() else BASE


def _add_identity_quant(state: StateDict) -> None:
    """The host's configurable autoencoder has 1x1 convolutions that Flux's has not."""
    dtype = state["decoder.conv_in.weight"].dtype
    for name, channels in (("quant_conv", 32), ("post_quant_conv", 16)):
        state[f"{name}.weight"] = torch.eye(channels, dtype=dtype)[:, :, None, None]
        state[f"{name}.bias"] = torch.zeros(channels, dtype=dtype)

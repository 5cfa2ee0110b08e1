"""Load a diffusion model, a text encoder or a VAE from a file.

The headers of a file are checked first (:mod:`.inspection`); only then are weights read. Files of
the official size go through the host's own loaders. For any other size of the same architecture,
the host's classes are built from an explicit configuration.
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
    """Load a diffusion model as the host's ``ModelPatcher`` (MODEL).

    The variant is stored in its ``model_options``, see :func:`variant_of`.

    Args:
        path: a safetensors file in ComfyUI's or the official layout, or a folder of shards.
        variant: ``turbo``, ``base``, ``edit``, or ``auto`` (metadata, scheduler file, file name).
        dtype: a key of :data:`DTYPES`; ``auto`` is the host's choice for the device.

    Raises:
        ZImageError: ``ZI-FILE-*``, ``ZI-MODEL-KIND``, ``ZI-MODEL-KEYS`` or ``ZI-VALUE``.
    """
    target = _dtype(dtype)
    file = inspection.diffusion(path)
    resolved_variant = _variant(variant, file.declared, Path(path))
    state = layouts.to_comfy(file.weights.load(), file.name)
    for name in layouts.MAY_BE_MISSING & (file.expected.keys() - state.keys()):
        state[name] = torch.ones(file.expected[name])  # never used; avoids the host's warning
    model = None
    if file.full:
        model = host.load_diffusion(state, target, file.weights.metadata)
    if model is None:
        model = host.build_diffusion(file.config, state, target, file.references)
    model.model_options[OPTION] = resolved_variant
    return model


def load_text_encoder(path: str | os.PathLike[str], expected_width: int | None = None) -> Any:
    """Load a Qwen3 text encoder as the host's CLIP, in the precision of the file.

    Args:
        path: a safetensors file, or a folder of shards.
        expected_width: the diffusion model's ``cap_feat_dim``, compared before weights are read.

    Raises:
        ZImageError: as :func:`load_model`, or ``ZI-TEXT-WIDTH``.
    """
    file = inspection.text_encoder(path, expected_width)
    state: dict[str, Any] = embedding.expand(
        layouts.text_to_comfy(file.weights.load()), host.VOCABULARY, file.name
    )
    if not file.full:
        return host.build_text_encoder(file.config, state)
    quantised = file.weights.metadata.get("_quantization_metadata")
    if quantised is not None:
        state["_quantization_metadata"] = quantised  # the host's loader reads it from the state
    return host.load_text_encoder(state)


def load_vae(path: str | os.PathLike[str], dtype: str = "auto") -> Any:
    """Load a 16-channel autoencoder as the host's VAE.

    Args:
        path: a safetensors file, or a folder with one.
        dtype: ``fp32`` computes in float32; for any other key of :data:`DTYPES` the host chooses.

    Raises:
        ZImageError: as :func:`load_model`.
    """
    target = torch.float32 if _dtype(dtype) is torch.float32 else None
    file = inspection.vae(path)
    state = layouts.vae_to_comfy(file.weights.load())
    if file.full:
        return host.build_vae(state, None, target)  # the host detects the official VAE and TAESD
    if "quant_conv.weight" not in state:
        _add_identity_quant(state)
    return host.build_vae(state, file.config, target)


def variant_of(model: Any) -> str:
    """Return the variant that the loader stored on a MODEL, a key of the presets.

    A MODEL of the host's own loader counts as Turbo, whose shift is the host's default as well.
    """
    return model.model_options.get(OPTION, TURBO)


def _dtype(name: str) -> torch.dtype | None:
    if name not in DTYPES:
        raise ZImageError("ZI-VALUE", name="dtype", found=name, expected=" | ".join(DTYPES))
    return DTYPES[name]


def _variant(requested: str, declared: Mapping[str, Any], path: Path) -> str:
    """Return the variant of a model file.

    The order of sources: the request, the file's metadata, the shift of the official scheduler
    file, the file name.
    """
    if requested in PRESETS:
        return requested
    if requested != AUTO:
        expected = " | ".join(VARIANTS)
        raise ZImageError("ZI-VALUE", name="variant", found=requested, expected=expected)
    if declared.get("variant") in PRESETS:
        return str(declared["variant"])
    scheduler = path.parent / "scheduler" / "scheduler_config.json"
    if path.is_dir():
        try:
            shift = json.loads(scheduler.read_text(encoding="utf-8")).get("shift")
            return TURBO if shift == 3.0 else BASE
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError, RecursionError):
            log.warning("%s is not readable; the file name decides the variant", scheduler)
    name = path.parent.name if path.is_dir() else path.name
    if "edit" in name.lower() or "omni" in name.lower():
        return EDIT
    return TURBO if "turbo" in name.lower() else BASE


def _add_identity_quant(state: StateDict) -> None:
    """Add identity 1x1 convolutions, which the host's configurable autoencoder requires."""
    dtype = state["decoder.conv_in.weight"].dtype
    for name, channels in (("quant_conv", 32), ("post_quant_conv", 16)):
        state[f"{name}.weight"] = torch.eye(channels, dtype=dtype)[:, :, None, None]
        state[f"{name}.bias"] = torch.zeros(channels, dtype=dtype)

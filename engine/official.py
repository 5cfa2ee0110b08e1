"""Configurations: from the ``config.json`` files of the official layout to ComfyUI's own terms.

The official folder holds one ``config.json`` per part (``transformer``, ``vae``, ``text_encoder``)
and ``scheduler/scheduler_config.json``. ComfyUI reads none of them and knows the full-size model
by its width alone, so a model of any size is built from what these functions return.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ZImageError

Config = Mapping[str, Any]

# The latent format that ComfyUI applies to this family (that of the Flux autoencoder).
LATENT_SCALE, LATENT_SHIFT = 0.3611, 0.1159


def nextdit_config(config: Config) -> dict[str, Any]:
    """``transformer/config.json`` as the keyword arguments of ``NextDiT`` plus ``image_model``.

    Raises:
        ZImageError: ``ZI-VALUE`` when the embedder of the timestep would be of another width:
            diffusers fixes it at 1024, ComfyUI takes ``min(dim, 1024)``.
    """
    dim = int(config["dim"])
    if dim < 1024:
        raise ZImageError("ZI-VALUE", name="transformer dim", found=dim, expected=">= 1024")
    ffn = int(dim / 3 * 8)
    return {
        "image_model": "lumina2",
        "patch_size": config.get("all_patch_size", (2,))[0],
        "in_channels": config.get("in_channels", 16),
        "dim": dim,
        "n_layers": config["n_layers"],
        "n_refiner_layers": config.get("n_refiner_layers", 2),
        "n_heads": config["n_heads"],
        "n_kv_heads": config.get("n_kv_heads", config["n_heads"]),
        "axes_dims": list(config["axes_dims"]),
        "axes_lens": list(config["axes_lens"]),
        "cap_feat_dim": config["cap_feat_dim"],
        "qk_norm": config.get("qk_norm", True),
        "norm_eps": config.get("norm_eps", 1e-5),
        "rope_theta": float(config.get("rope_theta", 256.0)),
        # Half a unit more than the width wanted: the host multiplies back and rounds down.
        "ffn_dim_multiplier": 8.0 / 3.0 if int(8.0 / 3.0 * dim) == ffn else (ffn + 0.5) / dim,
        "multiple_of": 1,
        "z_image_modulation": True,
        "time_scale": float(config.get("t_scale", 1000.0)),
        "pad_tokens_multiple": 32,
    }


def vae_config(config: Config) -> dict[str, Any]:
    """``vae/config.json`` as ``{"embed_dim", "ddconfig"}`` for ComfyUI's ``AutoencoderKL``.

    Raises:
        ZImageError: ``ZI-VALUE`` for latents scaled otherwise than ComfyUI scales them, or widths
            that are no whole multiples of the first.
    """
    scale, shift = config.get("scaling_factor"), config.get("shift_factor")
    if (scale, shift) != (LATENT_SCALE, LATENT_SHIFT):
        raise ZImageError(
            "ZI-VALUE",
            name="vae scaling_factor, shift_factor",
            found=f"{scale}, {shift}",
            expected=f"{LATENT_SCALE}, {LATENT_SHIFT}",
        )
    widths = list(config["block_out_channels"])
    if any(width % widths[0] for width in widths):
        raise ZImageError(
            "ZI-VALUE",
            name="vae block_out_channels",
            found=widths,
            expected=f"multiples of {widths[0]}",
        )
    channels = config["latent_channels"]
    ddconfig = {
        "double_z": True,
        "z_channels": channels,
        "resolution": config.get("sample_size", 1024),
        "in_channels": config.get("in_channels", 3),
        "out_ch": config.get("out_channels", 3),
        "ch": widths[0],
        "ch_mult": [width // widths[0] for width in widths],
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return {"embed_dim": channels, "ddconfig": ddconfig}


def qwen3_config(config: Config) -> dict[str, Any]:
    """``text_encoder/config.json`` as overrides of ComfyUI's ``Qwen3_4BConfig``.

    Raises:
        ZImageError: ``ZI-VALUE`` when the heads are not 128 wide, which ComfyUI takes as given.
    """
    if config.get("head_dim", 128) != 128:
        raise ZImageError(
            "ZI-VALUE", name="text_encoder head_dim", found=config["head_dim"], expected=128
        )
    theta = (config.get("rope_parameters") or config).get("rope_theta", 1000000.0)
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
    )
    return {name: config[name] for name in names} | {"rope_theta": float(theta)}


def variant_of(scheduler: Config) -> str:
    """``"turbo"`` or ``"base"``, by the shift in ``scheduler/scheduler_config.json`` (3 or 6)."""
    return "base" if float(scheduler.get("shift", 3.0)) > 4.5 else "turbo"

"""A tiny Z-Image family with random weights, in files of the same format as the bundled one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

DIFFUSION: dict[str, Any] = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 256, "n_layers": 2,
    "n_refiner_layers": 1, "n_heads": 4, "n_kv_heads": 4, "axes_dims": [16, 24, 24],
    "axes_lens": [1536, 512, 512], "cap_feat_dim": 128, "qk_norm": True, "rope_theta": 256.0,
    "ffn_dim_multiplier": 1.5, "multiple_of": 64, "z_image_modulation": True,
    "time_scale": 1000.0, "pad_tokens_multiple": 32,
}  # fmt: skip
TEXT_ENCODER: dict[str, int] = {
    "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 1,
}  # fmt: skip
VAE: dict[str, Any] = {
    "embed_dim": 16,
    "ddconfig": {
        "double_z": True, "z_channels": 16, "resolution": 128, "in_channels": 3, "out_ch": 3,
        "ch": 32, "ch_mult": [1, 2, 2, 2], "num_res_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0,
    },
}  # fmt: skip
TAESD = {"latent_channels": 16}
TOKEN_IDS = (872, 198, 151644, 151645, 77091, 99487, 99919)
"""Tokens that have an embedding of their own: those of the template and a few Chinese ones."""

Shapes = dict[str, tuple[int, ...]]


def random_state(
    shapes: Shapes, seed: int, dtype: torch.dtype = torch.bfloat16
) -> dict[str, torch.Tensor]:
    """Weights that keep activations near 1: norms around 1, matrices scaled by their width."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) >= 2:
            fan_in = noise[0].numel()
            tensor = noise / fan_in**0.5
        elif name.endswith("bias"):
            tensor = noise * 0.02
        else:
            tensor = 1 + noise * 0.05
        state[name] = tensor.to(dtype)
    return state


def write(path: Path, state: dict[str, torch.Tensor], **declared: Any) -> Path:
    """A safetensors file; ``declared`` becomes the ``zimage`` metadata unless it is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"zimage": json.dumps({"format": 1, **declared})} if declared else None
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, metadata)
    return path


def diffusion(
    folder: Path, variant: str = "turbo", seed: int = 1, dtype: torch.dtype = torch.bfloat16
) -> Path:
    """``diffusion_models/tiny-VARIANT.safetensors``."""
    state = random_state(model_shapes("diffusion_shapes", DIFFUSION), seed, dtype)
    path = folder / "diffusion_models" / f"tiny-{variant}.safetensors"
    return write(path, state, kind="diffusion", variant=variant, config=DIFFUSION)


def text_encoder(folder: Path, seed: int = 2, dtype: torch.dtype = torch.bfloat16) -> Path:
    """``text_encoders/tiny-qwen3.safetensors`` with a compact embedding."""
    shapes = model_shapes("text_encoder_shapes", TEXT_ENCODER)
    shapes["model.embed_tokens.weight"] = (len(TOKEN_IDS) + 1, TEXT_ENCODER["hidden_size"])
    state = random_state(shapes, seed, dtype)
    state["model.embed_tokens.weight"] = torch.randn(
        shapes["model.embed_tokens.weight"], generator=torch.Generator().manual_seed(seed)
    ).to(dtype)
    state["model.embed_tokens.ids"] = torch.tensor(TOKEN_IDS)
    path = folder / "text_encoders" / "tiny-qwen3.safetensors"
    return write(path, state, kind="text_encoder", config=TEXT_ENCODER)


def vae(folder: Path, seed: int = 3, dtype: torch.dtype = torch.bfloat16) -> Path:
    """``vae/tiny-ae.safetensors``: a TAESD, as the bundled one."""
    state = random_state(model_shapes("vae_shapes", TAESD), seed, dtype)
    return write(folder / "vae" / "tiny-ae.safetensors", state, kind="vae", config=TAESD)


def flux_vae(folder: Path, seed: int = 3, dtype: torch.dtype = torch.bfloat16) -> Path:
    """``vae/tiny-flux-ae.safetensors``: the official architecture without quant convolutions."""
    shapes = model_shapes("vae_shapes", VAE)
    shapes = {name: shape for name, shape in shapes.items() if "quant_conv." not in name}
    path = folder / "vae" / "tiny-flux-ae.safetensors"
    return write(path, random_state(shapes, seed, dtype))


def family(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Every file under ``folder``, as the host's ``models`` folder has them."""
    diffusion(folder, "turbo", 1, dtype)
    diffusion(folder, "base", 5, dtype)
    text_encoder(folder, dtype=dtype)
    vae(folder, dtype=dtype)
    flux_vae(folder, dtype=dtype)
    return folder


def model_shapes(function: str, config: dict[str, Any]) -> Shapes:
    """Names and shapes from the host's classes; needs ComfyUI importable."""
    from zimage_comfyui.engine import host

    builder: Callable[[dict[str, Any]], Shapes] = getattr(host, function)
    return builder(config)


def lora(folder: Path, official_names: bool = False, seed: int = 7) -> Path:
    """``loras/tiny.safetensors``, or ``tiny-official`` with the unfused names that trainers write.

    Rank 4 on the attention of layer 0, large enough to be seen.
    """
    generator = torch.Generator().manual_seed(seed)
    module, out = "diffusion_model.layers.0.attention.qkv", 3 * DIFFUSION["dim"]
    if official_names:
        module, out = "diffusion_model.layers.0.attention.to_q", DIFFUSION["dim"]
    state = {
        f"{module}.lora_A.weight": torch.randn(4, DIFFUSION["dim"], generator=generator) * 0.1,
        f"{module}.lora_B.weight": torch.randn(out, 4, generator=generator) * 0.1,
    }
    return write(folder / "loras" / f"tiny{'-official' * official_names}.safetensors", state)

"""Random models for the benchmarks: one set of weights in the layouts of all contenders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from zimage_comfyui.engine import architecture, layouts
from zimage_comfyui.tests.fakes import official

MIDDLE = official.Sizes(
    dim=1024,
    layers=10,
    refiners=2,
    text_width=256,
    text_layers=8,
    text_heads=(4, 2),
    text_ffn=768,
    vae_widths=(64, 128, 256, 256),
    vae_blocks=2,
)
"""About 0.19 G parameters in the transformer: a picture takes seconds on two CPU cores."""

FULL = official.FULL
TINY = official.Sizes(layers=1)


def write(folder: Path, sizes: official.Sizes, tokenizer: Path, dtype: torch.dtype) -> Path:
    """Write ``folder/official`` for diffusers and ``folder/{kind}/bench.safetensors`` for ComfyUI.

    Returns:
        The official folder.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        official.write(folder / "official", "turbo", tokenizer, sizes, dtype=dtype)
    parts = (
        ("transformer", "diffusion_models", "diffusion", layouts.to_comfy),
        ("text_encoder", "text_encoders", "text_encoder", layouts.text_to_comfy),
        ("vae", "vae", "vae", layouts.vae_to_comfy),
    )
    for part, model_folder, kind, convert in parts:
        source: dict[str, torch.Tensor] = {}
        for file in sorted((folder / "official" / part).glob("*.safetensors")):
            source |= load_file(file)
        state = {name: tensor.contiguous() for name, tensor in convert(source).items()}
        target = folder / model_folder / "bench.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, target, {"zimage": json.dumps(_declare(kind, state))})
    if device == "cuda":
        torch.cuda.empty_cache()
    return folder / "official"


def evaluation_flops(sizes: official.Sizes, width: int, height: int, caption: int) -> float:
    """Return the FLOP of matrix products of an evaluation of the transformer; sizes in pixels.

    Two FLOP per weight and token, and ``4 L^2 dim`` per attention over L tokens. Both numbers of
    tokens are padded to a multiple of 32.
    """
    image = _padded(width // 16 * (height // 16))
    caption = _padded(caption)
    dim, ffn = sizes.dim, int(sizes.dim / 3 * 8)

    def block(tokens: int) -> float:
        return 2.0 * tokens * (4 * dim * dim + 3 * dim * ffn) + 4.0 * tokens * tokens * dim

    refiners = sizes.refiners * (block(image) + block(caption))
    return sizes.layers * block(image + caption) + refiners


def _padded(tokens: int) -> int:
    return -(-tokens // 32) * 32


def _declare(kind: str, state: dict[str, torch.Tensor]) -> dict[str, Any]:
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    describe = {
        "diffusion": architecture.diffusion_config,
        "text_encoder": architecture.text_encoder_config,
        "vae": architecture.vae_config,
    }[kind]
    variant = {"variant": "turbo"} if kind == "diffusion" else {}
    return {"format": 1, "kind": kind, **variant, "config": describe(shapes, "bench")}

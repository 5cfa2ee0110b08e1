"""Random models in the official folder layout, written by diffusers and transformers themselves.

``write`` makes a folder like the published ones (``model_index.json``, ``transformer/``, ``vae/``,
``text_encoder/``, ``tokenizer/``, ``scheduler/``). The weights are random but scaled so that the
pictures are neither flat nor clipped, and every norm and padding token differs from its neutral
value, so that a mix-up of names shows.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

SHIFTS = {"turbo": 3.0, "base": 6.0}

# What Qwen3's own template writes for one user message with thinking left on.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of a random family.

    ``dim`` below 1024 cannot be shared: diffusers fixes the width of the timestep embedder there.
    Heads are 128 wide throughout, as in the real models; ``text_heads`` counts those of queries
    and those of keys and values. ``siglip_width`` makes it an Omni transformer.
    """

    dim: int = 1024
    layers: int = 2
    refiners: int = 1
    text_width: int = 128
    text_layers: int = 3
    text_heads: tuple[int, int] = (2, 1)
    text_ffn: int = 384
    vae_widths: tuple[int, ...] = (32, 64, 64, 64)
    vae_blocks: int = 1
    siglip_width: int | None = None


FULL = Sizes(
    dim=3840,
    layers=30,
    refiners=2,
    text_width=2560,
    text_layers=36,
    text_heads=(32, 8),
    text_ffn=9728,
    vae_widths=(128, 256, 512, 512),
    vae_blocks=2,
)
"""The published models."""


def write(
    folder: Path,
    variant: str,
    tokenizer_files: Path,
    sizes: Sizes | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write one variant ("turbo" or "base") with weights drawn from ``seed`` into ``folder``.

    Args:
        tokenizer_files: folder with the vocabulary and merges of the Qwen tokenizer.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline
    from transformers import Qwen2Tokenizer

    sizes = sizes or Sizes()
    torch.manual_seed(seed)
    tokenizer = Qwen2Tokenizer.from_pretrained(str(tokenizer_files))
    tokenizer.chat_template = CHAT_TEMPLATE
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFTS[variant]),
        vae=vae(sizes).to(dtype),
        text_encoder=text_encoder(sizes).to(dtype),
        tokenizer=tokenizer,
        transformer=transformer(sizes).to(dtype),
    )
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(str(folder), safe_serialization=True)


def transformer(sizes: Sizes) -> torch.nn.Module:
    """The diffusion transformer of diffusers."""
    from diffusers import ZImageTransformer2DModel

    heads = sizes.dim // 128
    model = ZImageTransformer2DModel(
        dim=sizes.dim,
        n_layers=sizes.layers,
        n_refiner_layers=sizes.refiners,
        n_heads=heads,
        n_kv_heads=heads,
        cap_feat_dim=sizes.text_width,
        siglip_feat_dim=sizes.siglip_width,
        axes_lens=[1536, 512, 512],
    )
    _unsettle(model)
    return model.eval()


def vae(sizes: Sizes) -> torch.nn.Module:
    """The autoencoder of diffusers, in the Flux form: 16 channels, no quant convolutions."""
    from diffusers import AutoencoderKL

    levels = len(sizes.vae_widths)
    model = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=list(sizes.vae_widths),
        layers_per_block=sizes.vae_blocks,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    _unsettle(model)
    return model.eval()


def text_encoder(sizes: Sizes) -> torch.nn.Module:
    """The Qwen3 of transformers."""
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        vocab_size=151936,
        hidden_size=sizes.text_width,
        intermediate_size=sizes.text_ffn,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads[0],
        num_key_value_heads=sizes.text_heads[1],
        head_dim=128,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
    )
    model = Qwen3Model(config)
    with torch.no_grad():
        model.embed_tokens.weight.normal_()
    _unsettle(model)
    return model.eval()


@torch.no_grad()
def _unsettle(model: torch.nn.Module) -> None:
    """Move every vector and padding token away from the value it is initialised with."""
    for name, parameter in model.named_parameters():
        if name.endswith("pad_token"):
            parameter.normal_()
        elif parameter.ndim == 1:
            parameter.add_(0.1 * torch.randn_like(parameter))

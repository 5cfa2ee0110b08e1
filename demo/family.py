"""Configuration and construction of the small Z-Image models from ComfyUI's own classes.

The architecture is that of Z-Image at a small size: a NextDiT denoiser and a Qwen3 text encoder,
with the tiny autoencoder that ComfyUI detects by its keys. All weights have ComfyUI's names.
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

DIFFUSION = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 256,
    "n_layers": 4,
    "n_refiner_layers": 1,
    "n_heads": 4,
    "n_kv_heads": 4,
    "axes_dims": [16, 24, 24],
    "axes_lens": [1536, 512, 512],
    "cap_feat_dim": 128,
    "qk_norm": True,
    "rope_theta": 256.0,
    "ffn_dim_multiplier": 1.0,
    "multiple_of": 64,
    "z_image_modulation": True,
    "time_scale": 1000.0,
    "pad_tokens_multiple": 32,
}
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
AUTOENCODER = {"latent_channels": 16}
PROMPT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def open_host(comfyui: Path, cpu: bool) -> None:
    """Make ComfyUI's modules importable for training, and select torch's own attention."""
    sys.path.insert(0, str(comfyui))
    from comfy.cli_args import args

    args.cpu = cpu
    args.use_pytorch_cross_attention = True
    import comfy.model_management

    comfy.model_management.in_training = True  # newer hosts: no kernels without a gradient


def build_autoencoder(patches: torch.Tensor) -> torch.nn.Module:
    """Build a tiny autoencoder (TAESD) with a computed encoder and an untrained decoder.

    The encoder is linear: TAESD's convolutions compute the 16 principal components of 8 x 8
    patches. This takes a second instead of an hour of training, and the latents are smooth. TAESD
    has no group norm; with so few channels, the 32 groups of the Flux autoencoder would remove the
    mean colour of a picture.

    Args:
        patches: (N, 192) flattened (row, column, channel) patches in 0..1.
    """
    from comfy.taesd.taesd import TAESD, Block

    model = TAESD(**AUTOENCODER)
    for name, parameter in model.named_parameters():
        if name.startswith("taesd_encoder") or name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
        elif parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    for module in model.taesd_decoder.modules():
        if isinstance(module, Block):
            module.conv[4].weight.data *= 0.2
    model.taesd_decoder[-1].weight.data *= 0.1
    model.taesd_decoder[-1].bias.data.fill_(0.5)
    model.vae_scale.data.fill_(0.3611)  # ComfyUI scales latents as for Flux; this undoes it
    model.vae_shift.data.fill_(0.1159)
    _write_components(model.taesd_encoder, patches)
    return model.to(memory_format=torch.channels_last)


def quick_encoder(model: torch.nn.Module) -> torch.nn.Module:
    """Return the same linear encoder without its residual blocks, which only apply a ReLU."""
    from comfy.taesd.taesd import Block

    layers = model.taesd_encoder
    return torch.nn.Sequential(*(torch.nn.ReLU() if isinstance(m, Block) else m for m in layers))


@torch.no_grad()
def _write_components(encoder: torch.nn.Module, patches: torch.Tensor) -> None:
    """Write the principal components of patches (N, 192) into TAESD's convolutions."""
    mean = patches.mean(dim=0)
    _, spread, basis = torch.linalg.svd(patches - mean, full_matrices=False)
    deviation = spread[:16] / len(patches) ** 0.5
    scale = deviation**-0.7  # 0 is plain, -1 whitened: a compromise gives fine detail less weight
    scale /= (scale * deviation).square().mean().sqrt()
    encoder[0].weight[range(3), range(3), 1, 1] = 1
    # Strided convolutions move the pixels of a 2 x 2 cell into channels; taps 1 and 2 of a padded
    # 3 x 3 kernel with stride 2 are the two rows (columns) of the cell.
    for layer, depth in ((2, 3), (6, 12)):
        for dy, dx, c in itertools.product(range(2), range(2), range(depth)):
            encoder[layer].weight[(2 * dy + dx) * depth + c, c, 1 + dy, 1 + dx] = 1
    for y, x, c in itertools.product(range(8), range(8), range(3)):
        inner = (2 * (y // 2 % 2) + x // 2 % 2) * 12 + (2 * (y % 2) + x % 2) * 3 + c
        column = basis[:16, (y * 8 + x) * 3 + c]
        # A ReLU follows, so each component is split into its positive and its negative part.
        encoder[10].weight[:16, inner, 1 + y // 4, 1 + x // 4] = column
        encoder[10].weight[16:32, inner, 1 + y // 4, 1 + x // 4] = -column
    encoder[14].weight[range(16), range(16), 1, 1] = scale
    encoder[14].weight[range(16), range(16, 32), 1, 1] = -scale
    encoder[14].bias[:] = -scale * (basis[:16] @ mean)


def build_text_encoder(vocabulary: int) -> torch.nn.Module:
    """Build a Qwen3 with a compact vocabulary: ids (B, L) to features (B, L, 128)."""
    import comfy.ops
    from comfy.text_encoders.llama import Llama2_, Qwen3_4BConfig

    config = Qwen3_4BConfig(vocab_size=vocabulary, **TEXT)
    return _initialise(Llama2_(config, dtype=torch.float32, ops=comfy.ops.manual_cast))


def build_denoiser() -> torch.nn.Module:
    """Build a NextDiT with zero-initialised modulation and output, for a stable start."""
    import comfy.ops
    from comfy.ldm.lumina.model import NextDiT

    model = NextDiT(**DIFFUSION, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    _initialise(model)
    for block in [*model.layers, *model.noise_refiner]:
        torch.nn.init.zeros_(block.adaLN_modulation[0].weight)
        torch.nn.init.zeros_(block.adaLN_modulation[0].bias)
    torch.nn.init.zeros_(model.final_layer.linear.weight)
    return model


def _initialise(model: torch.nn.Module) -> torch.nn.Module:
    """Initialise every parameter, because ComfyUI's layers do not; return the model."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 3:
            torch.nn.init.kaiming_uniform_(parameter, a=5**0.5)
        elif name.endswith(("embed_tokens.weight", "pad_token")):
            torch.nn.init.normal_(parameter, std=0.3 if "embed" in name else 0.02)
        elif parameter.ndim == 2:
            torch.nn.init.xavier_uniform_(parameter)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
        else:
            torch.nn.init.ones_(parameter)
    return model


def export(state: dict[str, torch.Tensor], path: Path, kind: str, config: dict, **more) -> None:
    """Write weights as bfloat16 safetensors with the configuration in the metadata.

    Args:
        state: weights by name.
        path: the file; its folder is created.
        kind: kind of model, see :mod:`..engine.architecture`.
        config: arguments of the host's class.
        **more: further fields of the metadata.
    """
    description = {"format": 1, "kind": kind, "config": config, **more}
    tensors = {}
    for key, value in state.items():
        narrow = value.is_floating_point() and value.ndim > 0
        tensors[key] = value.to("cpu", torch.bfloat16 if narrow else value.dtype).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"zimage": json.dumps(description, ensure_ascii=False)})
    path.chmod(0o644)  # the server may run as another user

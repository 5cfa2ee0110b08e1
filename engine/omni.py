"""The Omni layout: one sequence of captions, reference pictures, the noisy picture and SigLIP2.

It runs the blocks of the host's ``NextDiT``, which does not support references before ComfyUI 0.11.
It imports nothing from the host, so a trainer can use it with the bare module. The layout is that
of diffusers' ``ZImageOmniPipeline``, see docs/decisions/0007-edit-layout.md:

- Every picture has a *slot*: the caption piece before it, the picture, and its SigLIP2 features. On
  the first position axis, a piece takes one position for each token, the picture takes the next
  position, and the features take the one after. The next slot follows. Padding has no position.
- Pieces, pictures and features are padded to a multiple of 32 with learned, attended tokens.
- Tokens of a reference's slot are clean and modulated with t = 1. Tokens of the last slot and of
  the piece after it are noisy and modulated with t = 1 - sigma.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from . import omni_tokens
from .omni_tokens import Tokens, join


def templates(references: int) -> tuple[str, list[str]]:
    """Return the official chat template: that of the instruction's piece, and the other pieces.

    Each piece is encoded separately. With N references there are N + 1 other pieces, in the order
    that :func:`velocity` expects; without references there are none.
    """
    if references == 0:
        return "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", []
    between = ["<|vision_end|><|vision_start|>"] * (references - 1)
    return (
        "<|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n<|vision_start|>",
        ["<|im_start|>user\n<|vision_start|>", *between, "<|vision_end|><|im_end|>"],
    )


def velocity(
    module: Any,
    noisy: Tensor,
    sigma: Tensor,
    text: Tensor,
    mask: Tensor | None = None,
    references: Sequence[Tensor] = (),
    around: Sequence[Tensor] = (),
    siglip: Sequence[Tensor | None] | None = None,
    options: dict[str, Any] | None = None,
) -> Tensor:
    """Predict the velocity (noise - picture), ``[B, 16, H, W]``; differentiable.

    Without references, the layout is that of the host's own forward pass. An item of a batch gets
    the same result as alone, also when captions differ in length.

    Args:
        module: the host's ``NextDiT``, with or without SigLIP2 weights.
        noisy: ``[B, 16, H, W]``, H and W even, in the scale of the model's latents.
        sigma: ``[B]`` in 0..1.
        text: ``[B, L, width]``: the instruction's piece of the caption, in the last slot.
        mask: ``[B, L]`` bool, True for the tokens of each caption; None for no padding.
        references: clean latents ``[B, 16, h, w]``, each of its own even size, scaled like noisy.
        around: the other pieces ``[B or 1, l, width]``: one before each reference, then those after
            the last slot. Training needs the pieces of :func:`templates`, as sampling uses them; a
            missing piece has no tokens.
        siglip: SigLIP2 features ``[B or 1, rows, columns, features]`` of each reference; None in
            the list for a reference without features, None instead of the list for no features.
        options: the host's ``transformer_options``, passed to its attention.
    """
    options = {} if options is None else options
    groups, start = _groups(module, noisy, text, mask, references, around, siglip)
    time = torch.stack((torch.ones_like(sigma), 1 - sigma)) * module.time_scale
    clock = module.t_embedder(time.flatten(), dtype=noisy.dtype).unflatten(0, (2, -1))
    refiners = [module.context_refiner, module.noise_refiner, getattr(module, "siglip_refiner", ())]
    groups = [
        _through(module, blocks, group, clock, options)
        for blocks, group in zip(refiners, groups, strict=False)
    ]
    sequence = _through(module, module.layers, join(groups), clock, options)
    height, width = noisy.shape[-2:]
    noisy_tokens = sequence.values[:, start : start + height * width // module.patch_size**2]
    patches = module.final_layer(noisy_tokens, clock[1])
    return -module.unpatchify(patches, [(height, width)] * len(noisy), [0] * len(noisy), True)


def _groups(
    module: Any,
    noisy: Tensor,
    text: Tensor,
    mask: Tensor | None,
    references: Sequence[Tensor],
    around: Sequence[Tensor],
    siglip: Sequence[Tensor | None] | None,
) -> tuple[list[Tokens], int]:
    """Return captions, pictures and (if any) features, and the index of the first noisy token."""
    count = len(references)
    missing = [None] * (count - len(around))
    pieces = [*around[:count], *missing, text, *around[count:]]
    captions, frames = omni_tokens.captions(module, pieces, count, mask, noisy)
    pictures = [
        omni_tokens.picture(module, latent, frame, index == count)
        for index, (latent, frame) in enumerate(zip([*references, noisy], frames, strict=False))
    ]
    groups = [captions, join(pictures)]
    if siglip and references and getattr(module, "siglip_embedder", None) is not None:
        groups.append(join(omni_tokens.features(module, siglip, references, frames)))
    return groups, sum(part.values.shape[1] for part in [captions, *pictures[:-1]])


def _through(
    module: Any, blocks: Sequence[Any], tokens: Tokens, clock: Tensor, options: dict[str, Any]
) -> Tokens:
    """Return tokens after blocks of the host, with or without modulation."""
    rotation = module.rope_embedder(tokens.places).movedim(1, 2)
    values = tokens.values
    bias = None
    if not tokens.attended.all():  # a bias, since not every attention of the host takes a bool mask
        bias = torch.finfo(values.dtype).min * ~tokens.attended[:, None, None]
        bias = bias.to(values).expand(-1, 1, values.shape[1], -1)
    for block in blocks:
        if block.modulation:
            values = modulated(block, values, bias, rotation, clock, tokens.noisy, options)
        else:
            values = block(values, bias, rotation, transformer_options=options)
    return replace(tokens, values=values)


def modulated(
    block: Any,
    values: Tensor,
    bias: Tensor | None,
    rotation: Tensor,
    clock: Tensor,
    noisy: Tensor,
    options: dict[str, Any],
) -> Tensor:
    """Run the host's ``JointTransformerBlock`` with a modulation for each token.

    Args:
        block: the host's block.
        values: ``[B, L, dim]``.
        bias: ``[B, 1, L, L]``, added to the attention scores; None for no padding.
        rotation: the host's rotary position embedding of the tokens.
        clock: ``[2, B, 256]``: time embedding of clean and of noisy tokens.
        noisy: ``[L]`` bool.
        options: the host's ``transformer_options``.
    """

    def each(pair: Tensor) -> Tensor:  # [2, B, dim] to [B, L, dim]
        return torch.where(noisy[:, None], pair[1][:, None], pair[0][:, None])

    scale, gate, scale_ffn, gate_ffn = block.adaLN_modulation(clock).chunk(4, dim=-1)
    inner = block.attention_norm1(values) * each(1 + scale)
    inner = block.attention(inner, bias, rotation, transformer_options=options)
    values = values + each(gate.tanh()) * block.attention_norm2(inner)
    inner = block.feed_forward(block.ffn_norm1(values) * each(1 + scale_ffn))
    return values + each(gate_ffn.tanh()) * block.ffn_norm2(inner)

"""The Omni layout: one sequence of captions, reference pictures, the noisy picture and SigLIP2.

Plain torch over the blocks of the host's ``NextDiT``, which has no room for references before
ComfyUI 0.11; nothing is imported from the host, so a trainer can use it on the bare module. Facts
are those of diffusers' ``ZImageOmniPipeline``, see docs/decisions/0007-edit-layout.md:

- Every picture has a *slot*: the caption piece before it, the picture, its SigLIP2 features. On
  the first position axis a piece takes as many places as it has tokens, the picture the next one
  and the features the one after; the next slot follows. Padding takes no places.
- Pieces, pictures and features are padded to 32 with learned tokens that are attended.
- Tokens of a reference's slot are clean: modulated with t = 1. Those of the last slot, and what
  stands behind it, are noisy: modulated with t = 1 - sigma.
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
    """The official wording: a template of the instruction's piece, and the pieces around it.

    Each piece is encoded by itself. With N references there are N + 1 around, to be handed to
    :func:`velocity` in this order; without references there are none.
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
    """The denoiser's velocity (noise - picture), ``[B, 16, H, W]``; differentiable.

    Without references this is the layout of the host's own forward pass. A batch gives each item
    what it would get alone, also when captions have unequal lengths.

    Args:
        module: the host's ``NextDiT``, with or without SigLIP2 weights.
        noisy: ``[B, 16, H, W]``, H and W even, as the model sees latents (scaled).
        sigma: ``[B]`` in 0..1.
        text: ``[B, L, width]``: the instruction's piece of the caption, that of the last slot.
        mask: ``[B, L]`` bool, True for the tokens of each caption; None when all are.
        references: clean latents ``[B, 16, h, w]``, each of its own even size, scaled like noisy.
        around: the other pieces ``[B or 1, l, width]``: one for each reference, in front of it,
            then those behind the last slot. Sampling has those of :func:`templates`, so training
            has to have them; a missing piece is one of no tokens.
        siglip: SigLIP2 features ``[B or 1, rows, columns, features]`` of each reference; None in
            the list for one that has none, None instead of the list for a sequence without.
        options: the host's ``transformer_options``, handed to its attention.
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
    whole = _through(module, module.layers, join(groups), clock, options)
    height, width = noisy.shape[-2:]
    own = whole.values[:, start : start + height * width // module.patch_size**2]
    patches = module.final_layer(own, clock[1])
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
    """Captions, pictures and, if there are any, features; and where the noisy picture begins."""
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
    """Tokens after blocks of the host, modulated or not."""
    rotation = module.rope_embedder(tokens.places).movedim(1, 2)
    values, attend = tokens.values, None
    if not tokens.real.all():  # added to the scores: not every attention of the host takes bool
        attend = torch.finfo(values.dtype).min * ~tokens.real[:, None, None]
        attend = attend.to(values).expand(-1, 1, values.shape[1], -1)
    for block in blocks:
        if block.modulation:
            values = modulated(block, values, attend, rotation, clock, tokens.noisy, options)
        else:
            values = block(values, attend, rotation, transformer_options=options)
    return replace(tokens, values=values)


def modulated(
    block: Any,
    values: Tensor,
    attend: Tensor | None,
    rotation: Tensor,
    clock: Tensor,
    noisy: Tensor,
    options: dict[str, Any],
) -> Tensor:
    """The host's ``JointTransformerBlock`` with a modulation for each token.

    Args:
        values: ``[B, L, dim]``.
        clock: ``[2, B, 256]``: time embedding of clean and of noisy tokens.
        noisy: ``[L]`` bool.
    """

    def each(pair: Tensor) -> Tensor:  # [2, B, dim] to [B, L, dim]
        return torch.where(noisy[:, None], pair[1][:, None], pair[0][:, None])

    scale, gate, scale_ffn, gate_ffn = block.adaLN_modulation(clock).chunk(4, dim=-1)
    inner = block.attention_norm1(values) * each(1 + scale)
    inner = block.attention(inner, attend, rotation, transformer_options=options)
    values = values + each(gate.tanh()) * block.attention_norm2(inner)
    inner = block.feed_forward(block.ffn_norm1(values) * each(1 + scale_ffn))
    return values + each(gate_ffn.tanh()) * block.ffn_norm2(inner)

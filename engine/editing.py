"""Conditioning of an instruction with reference pictures, and the check of models for it.

The conditioning uses the keys of ComfyUI's ``TextEncodeZImageOmni`` (0.11 and newer). It works
with the host's Omni model, and on every host with the one of this pack.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from ..text import encoder_limits, prompt_rules, spans
from . import host, omni
from .architecture import TEXT_ENCODER, wrong_kind
from .conditioning import Conditioning

MAX_REFERENCES = 3
LATENTS = "reference_latents"
PIECES = "reference_latents_text_embeds"
SIGLIP = "clip_vision_outputs"
"""Keys of the conditioning, as ComfyUI names them."""


@dataclass(frozen=True)
class VisionOutput:
    """SigLIP2 features with the attributes of the host's image encoder output.

    Attributes:
        last_hidden_state: ``[1, rows * columns, width]``.
        image_sizes: ``[(3, rows * 16, columns * 16)]``; a patch is 16 x 16 pixels.
    """

    last_hidden_state: Tensor
    image_sizes: list[tuple[int, int, int]]


@torch.inference_mode()
def encode_instruction(
    clip: Any,
    instruction: str,
    latents: Sequence[Tensor],
    siglip: Sequence[Tensor] | None = None,
) -> Conditioning:
    """Encode an instruction and up to three reference pictures as conditioning.

    The negative conditioning needs the same pictures. Without pictures, the result is that of an
    ordinary prompt.

    Args:
        clip: the host's CLIP with a Qwen3.
        instruction: what to change; normalised here.
        latents: as the host's VAE encodes them, ``[1, 16, h, w]`` each; h and w even, any size.
        siglip: SigLIP2 features ``[1, rows, columns, width]`` of each picture, or None.

    Raises:
        ZImageError: ``ZI-VALUE`` for wrong pictures, ``ZI-MODEL-KIND`` for a CLIP object without a
            Qwen3, ``ZI-TEXT-…`` as for :func:`.conditioning.encode`.
    """
    _check_references(latents, siglip)
    if host.width_of(clip) is None or host.is_dual(clip):
        raise wrong_kind(
            "clip", TEXT_ENCODER, type(getattr(clip, "cond_stage_model", None)).__name__
        )
    template, around = omni.templates(len(latents))
    _, instruction = spans.take_off(prompt_rules.prepare(instruction))
    encoded = _encode(clip, instruction, template)
    if not latents:
        return encoded
    reference_extras: dict[str, Any] = {
        LATENTS: list(latents),
        PIECES: [_encode(clip, piece, "{}")[0][0] for piece in around],
    }
    if siglip:
        reference_extras[SIGLIP] = [_vision_output(features) for features in siglip]
    return [[features, {**extras, **reference_extras}] for features, extras in encoded]


def encode_vision(encoder: Any, picture: Tensor) -> Tensor:
    """Return SigLIP2 features ``[1, rows, columns, width]`` of a picture ``[1, H, W, 3]``.

    Args:
        encoder: the host's CLIP_VISION.
        picture: values in 0..1.

    Raises:
        ZImageError: ``ZI-PICTURE`` for an encoder whose features do not form a grid.
    """
    output = encoder.encode_image(picture)
    features = output.last_hidden_state
    sizes = getattr(output, "image_sizes", None)
    count = features.shape[1]
    rows = math.isqrt(count)
    if sizes and (sizes[0][1] // 16) * (sizes[0][2] // 16) == count:
        rows = sizes[0][1] // 16
    if count % rows or (not sizes and rows * rows != count):
        raise ZImageError(
            "ZI-PICTURE",
            found=f"clip_vision {list(features.shape)}",
            expected=Bilingual(
                "SigLIP2，[1, 行数 × 列数, 宽度]", "SigLIP2, [1, rows × columns, width]"
            ),
        )
    return features.unflatten(1, (rows, count // rows))


def supports_references(model: Any) -> bool:
    """Return whether a MODEL uses reference pictures, as Edit and Omni models do."""
    return host.takes_references(model)


def with_references(model: Any) -> Any:
    """Return a clone of a MODEL that uses reference pictures.

    Raises:
        ZImageError: ``ZI-EDIT-MODEL`` for a model that would ignore them.
    """
    if not supports_references(model):
        raise ZImageError("ZI-EDIT-MODEL", found=type(model.model).__name__)
    return model.clone()


def check_references(model: Any, *conditionings: Conditioning | None) -> None:
    """Refuse conditioning with reference pictures for a model that would ignore them.

    Raises:
        ZImageError: ``ZI-EDIT-MODEL``.
    """
    entries = [extras for conditioning in conditionings for _, extras in conditioning or ()]
    if any(extras.get(LATENTS) for extras in entries):
        with_references(model)


def _encode(clip: Any, text: str, template: str) -> Conditioning:
    tokens = clip.tokenize(text, llama_template=template)
    count = max(len(row) for rows in tokens.values() for row in rows)
    if count > encoder_limits.QWEN3_MOST:
        raise ZImageError("ZI-TEXT-TOKENS", found=count, maximum=encoder_limits.QWEN3_MOST)
    return clip.encode_from_tokens_scheduled(tokens)


def _vision_output(features: Tensor) -> VisionOutput:
    _, rows, columns, _ = features.shape
    return VisionOutput(features.flatten(1, 2), [(3, rows * 16, columns * 16)])


def _check_references(latents: Sequence[Tensor], siglip: Sequence[Tensor] | None) -> None:
    if len(latents) > MAX_REFERENCES:
        raise _invalid_value("references", len(latents), f"0 … {MAX_REFERENCES}")
    for latent in latents:
        shape = list(latent.shape)
        if len(shape) != 4 or shape[:2] != [1, 16] or 0 in shape or shape[2] % 2 or shape[3] % 2:
            raise _invalid_value("reference", shape, "[1, 16, H/8, W/8], H % 16 == W % 16 == 0")
    if siglip and (len(siglip) != len(latents) or any(part.ndim != 4 for part in siglip)):
        shapes = [list(part.shape) for part in siglip]
        expected = Bilingual(
            f"{len(latents)} × [1, 行数, 列数, 宽度]", f"{len(latents)} × [1, rows, columns, width]"
        )
        raise _invalid_value("siglip", shapes, expected)


def _invalid_value(name: str, found: object, expected: Bilingual | str) -> ZImageError:
    return ZImageError("ZI-VALUE", name=name, found=found, expected=expected)

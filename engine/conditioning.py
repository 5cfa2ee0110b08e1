"""From prompts to the host's conditioning."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import ZImageError
from . import host

Conditioning = list[list[Any]]


@torch.inference_mode()
def encode(clip: Any, prompt: str) -> Conditioning:
    """Conditioning of one prompt: ``[[features, extras]]`` with features ``[1, tokens, width]``.

    The tokenizer of the host wraps the prompt in the chat template of Qwen3; the features are its
    second to last hidden states. Prompt weights such as ``(x:1.2)`` are plain text here.

    Raises:
        ZImageError: ``ZI-MODEL-KIND`` when the CLIP object holds no Qwen3.
    """
    if host.width_of(clip) is None:
        raise ZImageError(
            "ZI-MODEL-KIND",
            path="clip",
            found=type(getattr(clip, "cond_stage_model", None)).__name__,
            expected_zh="Qwen3 文本编码器",
            expected_en="a Qwen3 text encoder",
        )
    return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))


def check_width(conditioning: Conditioning, expected: int) -> None:
    """Compare the width of text features with what the diffusion model takes.

    Raises:
        ZImageError: ``ZI-TEXT-WIDTH``.
    """
    for features, _ in conditioning:
        if features.shape[-1] != expected:
            raise ZImageError("ZI-TEXT-WIDTH", found=features.shape[-1], expected=expected)

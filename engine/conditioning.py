"""Encode prompts as the host's conditioning, and describe how they were tokenized."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from ..text import encoder_limits, prompt_rules, spans
from . import host
from .architecture import TEXT_ENCODER, wrong_kind
from .dual_text import LIMIT, Reading

Conditioning = list[list[Any]]
"""The host's conditioning: ``[[features, extras], …]`` with features ``[B, tokens, width]``."""


@torch.inference_mode()
def encode(clip: Any, prompt: str) -> Conditioning:
    """Return the conditioning of one prompt, with features ``[1, tokens, width]``.

    The prompt is normalised first. The host's tokenizer puts it in the chat template of Qwen3; the
    features are the second to last hidden states. Prompt weights such as ``(x:1.2)`` are plain
    text. A tag ``[ZH]`` or ``[EN]`` at the beginning is removed, because only a dual encoder
    (:mod:`.dual`) uses it. A dual encoder returns a fixed number of tokens.

    Raises:
        ZImageError: the codes of :func:`..text.prompt_rules.check`; ``ZI-TEXT-TOKENS`` for more
            tokens than Qwen3 may get; ``ZI-MODEL-KIND`` for a CLIP object without a Qwen3.
    """
    prompt = prompt_rules.prepare(prompt)
    if host.is_dual(clip):
        return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    if host.width_of(clip) is None:
        raise wrong_kind(
            "clip", TEXT_ENCODER, type(getattr(clip, "cond_stage_model", None)).__name__
        )
    tokens, count = _tokens(clip, prompt)
    if count > encoder_limits.QWEN3_MOST:
        raise ZImageError("ZI-TEXT-TOKENS", found=count, maximum=encoder_limits.QWEN3_MOST)
    return clip.encode_from_tokens_scheduled(tokens)


def _tokens(clip: Any, prompt: str) -> tuple[Any, int]:
    """Return the host's tokens of a normalised prompt for Qwen3, and their number."""
    tokens = clip.tokenize(spans.take_off(prompt)[1])
    return tokens, max(len(row) for rows in tokens.values() for row in rows)


def describe(clip: Any, prompt: str, negative_prompt: str = "") -> str:
    """Return a Chinese and an English line about the tokens of each prompt.

    There are no lines about an empty negative prompt. For a dual encoder, a line has the tag, the
    number of tokens of each encoder, and the text that was truncated, with spaces for line breaks.

    Raises:
        ZImageError: the codes of :func:`..text.prompt_rules.check`.
    """
    usage = _token_usage(clip, prompt)
    lines = [usage.chinese, usage.english]
    if negative_prompt.strip():
        usage = _token_usage(clip, negative_prompt)
        lines += [f"反向提示词：{usage.chinese}", f"Negative: {usage.english}"]
    return "\n".join(lines)


def _token_usage(clip: Any, prompt: str) -> Bilingual:
    """Return the line about the tokens of one prompt."""
    if host.is_dual(clip):
        return _dual_token_usage(clip.tokenizer.read(prompt))
    _, count = _tokens(clip, prompt_rules.prepare(prompt))
    usage = f"Qwen3 {count}/{encoder_limits.QWEN3}"
    if count <= encoder_limits.QWEN3:
        return Bilingual(usage, usage)
    return Bilingual(
        f"{usage} · 超过官方上限，可能读不准",
        f"{usage} · above the official limit, may be misread",
    )


def _dual_token_usage(reading: Reading) -> Bilingual:
    """Return the line about a prompt for a dual encoder."""
    encoders = (("CLIP", reading.clip), ("BERT", reading.bert))
    counts = " · ".join(f"{name} {tokens.count}/{LIMIT}" for name, tokens in encoders)
    truncated = [
        (name, tokens.truncated.replace("\n", " ")) for name, tokens in encoders if tokens.truncated
    ]
    chinese = "".join(f" · {name} 截去“{text}”" for name, text in truncated)
    english = "".join(f' · {name} cut "{text}"' for name, text in truncated)
    usage = f"{reading.tag or '-'} {counts}"
    return Bilingual(usage + chinese, usage + english)


def cuts(clip: Any, **prompts: str) -> dict[str, list[dict[str, str]]] | None:
    """Return the truncated text of prompts as a node's ``ui`` output.

    Args:
        clip: the host's CLIP; only a dual encoder truncates.
        **prompts: prompts by the name of their widget.

    Returns:
        ``{"zimage_cut": [{"field": widget, "encoder": "CLIP" or "BERT", "cut": text}, …]}``, or
        None if nothing was truncated.

    Raises:
        ZImageError: the codes of :func:`..text.prompt_rules.check`.
    """
    if not host.is_dual(clip):
        return None
    cut = []
    for field, prompt in prompts.items():
        reading = clip.tokenizer.read(prompt)
        texts = (("CLIP", reading.clip.truncated), ("BERT", reading.bert.truncated))
        cut += [{"field": field, "encoder": name, "cut": text} for name, text in texts if text]
    return {"zimage_cut": cut} if cut else None


def check_width(conditioning: Conditioning, expected: int) -> None:
    """Refuse text features of another width than the diffusion model expects.

    Raises:
        ZImageError: ``ZI-TEXT-WIDTH``.
    """
    for features, _ in conditioning:
        if features.shape[-1] != expected:
            raise ZImageError("ZI-TEXT-WIDTH", found=features.shape[-1], expected=expected)

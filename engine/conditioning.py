"""From prompts to the host's conditioning."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import ZImageError
from ..text import encoder_limits, prompt_rules, spans
from . import host
from .dual_text import LIMIT

Conditioning = list[list[Any]]


@torch.inference_mode()
def encode(clip: Any, prompt: str) -> Conditioning:
    """Conditioning of one prompt: ``[[features, extras]]`` with features ``[1, tokens, width]``.

    The tokenizer of the host wraps the prompt in the chat template of Qwen3; the features are its
    second to last hidden states. Prompt weights such as ``(x:1.2)`` are plain text here. The
    prompt is cleaned first; a ``[ZH]`` or ``[EN]`` in front means nothing to Qwen3 and is left out.
    A dual encoder (:mod:`.dual`) reads the tag and gives a fixed number of tokens.

    Raises:
        ZImageError: ``ZI-TEXT-…`` for a prompt that cannot be read
            (see :mod:`..text.prompt_rules`),
            ``ZI-MODEL-KIND`` when the CLIP object holds no Qwen3.
    """
    prompt = prompt_rules.prepare(prompt)
    if host.is_dual(clip):
        return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    if host.width_of(clip) is None:
        raise ZImageError(
            "ZI-MODEL-KIND",
            path="clip",
            found=type(getattr(clip, "cond_stage_model", None)).__name__,
            expected_zh="Qwen3 文本编码器",
            expected_en="a Qwen3 text encoder",
        )
    tokens, count = _tokens(clip, prompt)
    if count > encoder_limits.QWEN3_MOST:
        raise ZImageError("ZI-TEXT-TOKENS", found=count, maximum=encoder_limits.QWEN3_MOST)
    return clip.encode_from_tokens_scheduled(tokens)


def _tokens(clip: Any, prompt: str) -> tuple[Any, int]:
    """What Qwen3 reads of a clean prompt, and how many tokens that is."""
    tokens = clip.tokenize(spans.take_off(prompt)[1])
    return tokens, max(len(row) for rows in tokens.values() for row in rows)


def describe(clip: Any, prompt: str, negative_prompt: str = "") -> str:
    """How prompts were read: one line in Chinese and one in English for each that is not empty.

    For a dual encoder: its tag, the tokens of each encoder, and what was cut.
    """
    lines = [_described(clip, prompt)]
    if negative_prompt.strip():
        marks = ("反向提示词：", "Negative: ")
        pair = zip(marks, _described(clip, negative_prompt).split("\n"), strict=True)
        lines.append("\n".join(mark + line for mark, line in pair))
    return "\n".join(lines)


def _described(clip: Any, prompt: str) -> str:
    if not host.is_dual(clip):
        _, count = _tokens(clip, prompt_rules.prepare(prompt))
        told = f"Qwen3 {count}/{encoder_limits.QWEN3}"
        if count <= encoder_limits.QWEN3:
            return f"{told}\n{told}"
        more = " · 超过官方上限，可能读不准", " · above the official limit, may be misread"
        return "\n".join(told + words for words in more)
    reading = clip.tokenizer.read(prompt)
    parts = (("CLIP", reading.clip), ("BERT", reading.bert))
    counts = " · ".join(f"{name} {part.whole}/{LIMIT}" for name, part in parts)
    rests = [(name, part.rest) for name, part in parts if part.rest]
    chinese = "".join(f" · {name} 截去“{rest}”" for name, rest in rests)
    english = "".join(f' · {name} cut "{rest}"' for name, rest in rests)
    tag = reading.tag or "-"
    return f"{tag} {counts}{chinese}\n{tag} {counts}{english}"


def cuts(clip: Any, **prompts: str) -> dict[str, list[dict[str, str]]] | None:
    """What was not read of prompts, for the page and for ``/history``; None when all was.

    Args:
        prompts: texts by the name of their widget.

    Returns:
        ``{"zimage_cut": [{"field": widget, "encoder": "CLIP" or "BERT", "cut": text}, …]}``
    """
    if not host.is_dual(clip):
        return None
    found = []
    for field, prompt in prompts.items():
        reading = clip.tokenizer.read(prompt)
        parts = (("CLIP", reading.clip.rest), ("BERT", reading.bert.rest))
        found += [{"field": field, "encoder": name, "cut": rest} for name, rest in parts if rest]
    return {"zimage_cut": found} if found else None


def check_width(conditioning: Conditioning, expected: int) -> None:
    """Compare the width of text features with what the diffusion model takes.

    Raises:
        ZImageError: ``ZI-TEXT-WIDTH``.
    """
    for features, _ in conditioning:
        if features.shape[-1] != expected:
            raise ZImageError("ZI-TEXT-WIDTH", found=features.shape[-1], expected=expected)

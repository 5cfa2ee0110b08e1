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
    """Encode one prompt as ``[[features, extras]]`` with features ``[1, tokens, width]``.

    The prompt is normalised first. The host's tokenizer puts it in the chat template of Qwen3; the
    features are the second to last hidden states. Prompt weights such as ``(x:1.2)`` are plain
    text. A tag ``[ZH]`` or ``[EN]`` at the beginning is removed, because only a dual encoder
    (:mod:`.dual`) uses it. A dual encoder returns a fixed number of tokens.

    Raises:
        ZImageError: ``ZI-TEXT-…`` for a prompt that cannot be read
            (see :mod:`..text.prompt_rules`), ``ZI-MODEL-KIND`` for a CLIP object without a Qwen3.
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
    """Return Qwen3's tokens of a normalised prompt, and their number."""
    tokens = clip.tokenize(spans.take_off(prompt)[1])
    return tokens, max(len(row) for rows in tokens.values() for row in rows)


def describe(clip: Any, prompt: str, negative_prompt: str = "") -> str:
    """Describe how prompts were tokenized: a Chinese and an English line for each prompt.

    An empty negative prompt is left out. For a dual encoder, a line has the tag, the number of
    tokens of each encoder, and the text that was truncated.
    """
    lines = [_described(clip, prompt)]
    if negative_prompt.strip():
        labels = ("反向提示词：", "Negative: ")
        pairs = zip(labels, _described(clip, negative_prompt).split("\n"), strict=True)
        lines.append("\n".join(label + line for label, line in pairs))
    return "\n".join(lines)


def _described(clip: Any, prompt: str) -> str:
    """Return the Chinese and the English line about one prompt."""
    if not host.is_dual(clip):
        _, count = _tokens(clip, prompt_rules.prepare(prompt))
        usage = f"Qwen3 {count}/{encoder_limits.QWEN3}"
        if count <= encoder_limits.QWEN3:
            return f"{usage}\n{usage}"
        warnings = " · 超过官方上限，可能读不准", " · above the official limit, may be misread"
        return "\n".join(usage + warning for warning in warnings)
    reading = clip.tokenizer.read(prompt)
    parts = (("CLIP", reading.clip), ("BERT", reading.bert))
    counts = " · ".join(f"{name} {part.whole}/{LIMIT}" for name, part in parts)
    truncated = [(name, part.rest) for name, part in parts if part.rest]
    chinese = "".join(f" · {name} 截去“{rest}”" for name, rest in truncated)
    english = "".join(f' · {name} cut "{rest}"' for name, rest in truncated)
    tag = reading.tag or "-"
    return f"{tag} {counts}{chinese}\n{tag} {counts}{english}"


def cuts(clip: Any, **prompts: str) -> dict[str, list[dict[str, str]]] | None:
    """Return the truncated parts of prompts as a node's ``ui`` output; None when there are none.

    Args:
        clip: the host's CLIP; only a dual encoder truncates.
        prompts: texts by the name of their widget.

    Returns:
        ``{"zimage_cut": [{"field": widget, "encoder": "CLIP" or "BERT", "cut": text}, …]}``
    """
    if not host.is_dual(clip):
        return None
    cut = []
    for field, prompt in prompts.items():
        reading = clip.tokenizer.read(prompt)
        parts = (("CLIP", reading.clip.rest), ("BERT", reading.bert.rest))
        cut += [{"field": field, "encoder": name, "cut": rest} for name, rest in parts if rest]
    return {"zimage_cut": cut} if cut else None


def check_width(conditioning: Conditioning, expected: int) -> None:
    """Refuse text features of another width than the diffusion model expects.

    Raises:
        ZImageError: ``ZI-TEXT-WIDTH``.
    """
    for features, _ in conditioning:
        if features.shape[-1] != expected:
            raise ZImageError("ZI-TEXT-WIDTH", found=features.shape[-1], expected=expected)

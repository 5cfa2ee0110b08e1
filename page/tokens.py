"""Token counts of prompts, with the host's tokenizers alone: no model is loaded for them."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ZImageError
from ..text import limits, rules, spans
from ..text.limits import Cut

ENCODERS = ("qwen3", "dual")
_FRAME = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
"""What the host puts around a prompt for Qwen3; a test holds the two together."""


class Tokenizers:
    """The tokenizers that every ComfyUI carries, each read when it is first needed.

    Args:
        comfy: the host's folder ``comfy`` (default: that of the running host).
    """

    def __init__(self, comfy: Path | None = None) -> None:
        self._comfy = comfy

    @cached_property
    def qwen3(self) -> Any:
        """Qwen's, 2 s to read."""
        return self._read("Qwen3", "text_encoders/qwen25_tokenizer")

    @cached_property
    def bert(self) -> Any:
        """Chinese BERT's."""
        return self._read("BERT", "text_encoders/hydit_clip_tokenizer")

    @cached_property
    def clip(self) -> Any:
        """CLIP's."""
        return self._read("CLIP", "sd1_tokenizer")

    def _read(self, name: str, folder: str) -> Any:
        try:
            from transformers import AutoTokenizer

            path = str((self._comfy or _comfy()) / folder)
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        except Exception as error:  # another host: whatever is missing there, only counts are
            found = type(error).__name__  # its text would name folders of this machine
            raise ZImageError("ZI-TOKENIZER", name=name, found=found) from error
        if not tokenizer.is_fast:
            raise ZImageError("ZI-TOKENIZER", name=name, found=type(tokenizer).__name__)
        return tokenizer


def count(text: str, encoder: str, tokenizers: Tokenizers) -> dict[str, Any]:
    """How many tokens a prompt takes and what does not fit.

    Returns:
        ``tag``; ``encoders``, each with ``name``, ``count``, ``limit``, ``position`` (characters
        of its own text that fit), ``cut`` (the rest) and ``enforced`` (False where the rest is
        read all the same); ``pieces`` of the prompt with ``text``, ``encoder`` and ``cut``.

    Raises:
        ZImageError: ``ZI-TEXT-…`` for a prompt that cannot be read, ``ZI-TOKENIZER``.
    """
    cleaned = rules.prepare(text)
    return (_dual if encoder == "dual" else _qwen3)(cleaned, tokenizers)


def _qwen3(cleaned: str, tokenizers: Tokenizers) -> dict[str, Any]:
    _, body = spans.take_off(cleaned)
    before, after = _FRAME
    framed = _offsets(tokenizers.qwen3, before + body + after)
    if len(framed) > limits.QWEN3_MOST:
        raise ZImageError("ZI-TEXT-TOKENS", found=len(framed), maximum=limits.QWEN3_MOST)
    found = limits.cut(framed, len(before) + len(body), limits.QWEN3, special=0)
    position = min(max(0, found.position - len(before)), len(body))
    row = _row("Qwen3", body, Cut(found.count, found.limit, position), enforced=False)
    return {"tag": spans.tag(cleaned).tag, "encoders": [row], "pieces": []}


def _dual(cleaned: str, tokenizers: Tokenizers) -> dict[str, Any]:
    tagged = spans.tag(cleaned)
    routed = spans.route(tagged)
    texts = limits.join(routed)
    read = (tokenizers.bert, tokenizers.clip)
    chinese, other = (
        limits.cut(_offsets(tokenizer, text), len(text), limits.DUAL)
        for tokenizer, text in zip(read, texts, strict=True)
    )
    parts = [
        {"text": piece.text, "encoder": "BERT" if piece.chinese else "CLIP", "cut": piece.cut}
        for piece in limits.pieces(routed, chinese, other)
    ]
    rows = [_row("BERT", texts[0], chinese), _row("CLIP", texts[1], other)]
    return {"tag": tagged.tag, "encoders": rows, "pieces": parts}


def _row(name: str, text: str, found: Cut, *, enforced: bool = True) -> dict[str, Any]:
    return {
        "name": name, "count": found.count, "limit": found.limit, "position": found.position,
        "cut": text[found.position :], "enforced": enforced,
    }  # fmt: skip


def _offsets(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Characters of each token, without those that the tokenizer would add at the ends."""
    return tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )["offset_mapping"]  # fmt: skip


def _comfy() -> Path:
    """The folder of the host's package ``comfy``."""
    found = importlib.util.find_spec("comfy.sd1_clip")
    if found is None or found.origin is None:
        raise FileNotFoundError("comfy.sd1_clip")
    return Path(found.origin).parent

"""Token counts of prompts, with tokenizers and file headers alone: no model is loaded for them."""

from __future__ import annotations

import contextlib
import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ZImageError
from ..text import encoder_limits, prompt_rules, spans
from ..text.encoder_limits import Cut

ENCODERS = ("qwen3", "dual")
_FRAME = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
"""What the host puts around a prompt for Qwen3; a test holds the two together."""


class Tokenizers:
    """Those that the encoders of a prompt use, each read when it is first needed.

    Args:
        comfy: the host's folder ``comfy`` (default: that of the running host).
    """

    def __init__(self, comfy: Path | None = None) -> None:
        self._comfy = comfy
        self._pair: tuple[Any, Any] = None, None

    @cached_property
    def qwen3(self) -> Any:
        """Qwen's, 2 s to read."""
        try:
            from transformers import AutoTokenizer

            path = str((self._comfy or _comfy()) / "text_encoders/qwen25_tokenizer")
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        except Exception as error:
            raise _lacking("Qwen3", error) from error
        if not tokenizer.is_fast:
            raise ZImageError("ZI-TOKENIZER", name="Qwen3", found=type(tokenizer).__name__)
        return tokenizer.backend_tokenizer

    def pair(self, bert: Path | None) -> tuple[Any, Any]:
        """CLIP's and Chinese BERT's, as the loader of the pair has them.

        Args:
            bert: the file of a BERT: its own vocabulary counts, if it has one, and only as many
                words as it has rows. None, or one that cannot be used, for the host's vocabulary.
        """
        key = bert and (bert, bert.stat().st_mtime_ns)
        if self._pair[1] is None or self._pair[0] != key:
            self._pair = key, self._read(bert)
        return self._pair[1]

    def _read(self, bert: Path | None) -> Any:
        try:
            from ..engine import dual_files

            if bert is not None:
                with contextlib.suppress(ZImageError):  # the loader's to tell
                    return dual_files.tokenizers(bert, dual_files.bert_words(bert))
            return dual_files.tokenizers(None)
        except Exception as error:
            raise _lacking("CLIP, BERT", error) from error


def _lacking(name: str, error: Exception) -> ZImageError:
    """For another host: whatever is missing there, only counts are. Its text would name folders."""
    return ZImageError("ZI-TOKENIZER", name=name, found=type(error).__name__)


def count(
    text: str, encoder: str, tokenizers: Tokenizers, bert: Path | None = None
) -> dict[str, Any]:
    """How many tokens a prompt takes and what does not fit.

    Args:
        encoder: one of :data:`ENCODERS`.
        bert: as for :meth:`Tokenizers.pair`.

    Returns:
        ``tag``; ``encoders``, each with ``name``, ``count``, ``limit``, ``position`` (characters
        of its own text that fit), ``cut`` (the rest) and ``enforced`` (False where the rest is
        read all the same); ``pieces`` of the prompt with ``text``, ``encoder`` and ``cut``.

    Raises:
        ZImageError: ``ZI-TEXT-…`` for a prompt that cannot be read, ``ZI-TOKENIZER``.
    """
    cleaned = prompt_rules.prepare(text)
    if encoder == "dual":
        return _dual(cleaned, *tokenizers.pair(bert))
    return _qwen3(cleaned, tokenizers.qwen3)


def _qwen3(cleaned: str, tokenizer: Any) -> dict[str, Any]:
    _, body = spans.take_off(cleaned)
    before, after = _FRAME
    framed = _offsets(tokenizer, before + body + after)
    if len(framed) > encoder_limits.QWEN3_MOST:
        raise ZImageError("ZI-TEXT-TOKENS", found=len(framed), maximum=encoder_limits.QWEN3_MOST)
    found = encoder_limits.cut(framed, len(before) + len(body), encoder_limits.QWEN3, special=0)
    position = min(max(0, found.position - len(before)), len(body))
    row = _row("Qwen3", body, Cut(found.count, found.limit, position), enforced=False)
    return {"tag": spans.tag(cleaned).tag, "encoders": [row], "pieces": []}


def _dual(cleaned: str, clip: Any, bert: Any) -> dict[str, Any]:
    tagged = spans.tag(cleaned)
    routed = spans.route(tagged)
    texts = encoder_limits.join(routed)
    chinese, other = (
        encoder_limits.cut(_offsets(tokenizer, text), len(text), encoder_limits.DUAL)
        for tokenizer, text in zip((bert, clip), texts, strict=True)
    )
    parts = [
        {"text": piece.text, "encoder": "BERT" if piece.chinese else "CLIP", "cut": piece.cut}
        for piece in encoder_limits.pieces(routed, chinese, other)
    ]
    rows = [_row("BERT", texts[0], chinese), _row("CLIP", texts[1], other)]
    return {"tag": tagged.tag, "encoders": rows, "pieces": parts}


def _row(name: str, text: str, found: Cut, *, enforced: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "count": found.count,
        "limit": found.limit,
        "position": found.position,
        "cut": text[found.position :],
        "enforced": enforced,
    }


def _offsets(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Characters of each token, without those that the tokenizer would add at the ends."""
    return tokenizer.encode(text, add_special_tokens=False).offsets


def _comfy() -> Path:
    """The folder of the host's package ``comfy``."""
    found = importlib.util.find_spec("comfy.sd1_clip")
    if found is None or found.origin is None:
        raise FileNotFoundError("comfy.sd1_clip")
    return Path(found.origin).parent

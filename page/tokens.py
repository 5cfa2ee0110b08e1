"""Count the tokens of prompts with tokenizers and file headers alone, without loading a model."""

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
"""The host's chat template for Qwen3; a test compares them."""


class Tokenizers:
    """The tokenizers of the text encoders, each loaded at its first use.

    Args:
        comfy: the host's folder ``comfy`` (default: that of the running host).
    """

    def __init__(self, comfy: Path | None = None) -> None:
        self._comfy = comfy
        self._pair: tuple[Any, Any] = None, None

    @cached_property
    def qwen3(self) -> Any:
        """Qwen3's tokenizer; loading it takes 2 s."""
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
        """Return the tokenizers of CLIP and Chinese BERT, as the dual loader uses them.

        Args:
            bert: a BERT file, which determines vocabulary and number of words. None, or an unusable
                file, for the host's vocabulary.
        """
        key = bert and (bert, _modified(bert))
        if self._pair[1] is None or self._pair[0] != key:
            self._pair = (key, self._read(bert))
        return self._pair[1]

    def _read(self, bert: Path | None) -> Any:
        try:
            from ..engine import dual_files

            if bert is not None:
                with contextlib.suppress(ZImageError):  # the loader reports it
                    return dual_files.tokenizers(bert, dual_files.bert_words(bert))
            return dual_files.tokenizers(None)
        except Exception as error:
            raise _lacking("CLIP, BERT", error) from error


def _modified(file: Path) -> int:
    """Return when a file was modified, 0 for one that has vanished or cannot be looked up."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _lacking(name: str, error: Exception) -> ZImageError:
    """Return ``ZI-TOKENIZER`` with the type of an error; its text could contain paths."""
    return ZImageError("ZI-TOKENIZER", name=name, found=type(error).__name__)


def count(
    text: str, encoder: str, tokenizers: Tokenizers, bert: Path | None = None
) -> dict[str, Any]:
    """Count the tokens of a prompt and find the text beyond the limit.

    Args:
        text: the prompt.
        encoder: one of :data:`ENCODERS`.
        tokenizers: the tokenizers of this process.
        bert: as for :meth:`Tokenizers.pair`.

    Returns:
        ``tag``; ``encoders``, each with ``name``, ``count``, ``limit``, ``position`` (number of
        characters of its text that fit), ``cut`` (the text beyond) and ``enforced`` (False where
        that text is encoded as well); ``pieces`` of the prompt with ``text``, ``encoder`` and
        ``cut``.

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
    cut = encoder_limits.cut(framed, len(before) + len(body), encoder_limits.QWEN3, special=0)
    position = min(max(0, cut.position - len(before)), len(body))
    row = _row("Qwen3", body, Cut(cut.count, cut.limit, position), enforced=False)
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


def _row(name: str, text: str, cut: Cut, *, enforced: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "count": cut.count,
        "limit": cut.limit,
        "position": cut.position,
        "cut": text[cut.position :],
        "enforced": enforced,
    }


def _offsets(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Return the range of characters of each token, without special tokens."""
    return tokenizer.encode(text, add_special_tokens=False).offsets


def _comfy() -> Path:
    """Return the folder of the host's package ``comfy``."""
    spec = importlib.util.find_spec("comfy.sd1_clip")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("comfy.sd1_clip")
    return Path(spec.origin).parent

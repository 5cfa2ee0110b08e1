"""Tokenize a prompt for two encoders: its spans for CLIP, its spans for BERT, and truncation.

Each encoder takes at most 77 tokens, its two special tokens included. Longer text is truncated at
the end of a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from ..text import encoder_limits, prompt_rules, spans
from .safetensors_file import unreadable

LIMIT = encoder_limits.DUAL


@dataclass(frozen=True)
class Tokens:
    """Tokens of one encoder.

    Attributes:
        ids: at most :data:`LIMIT` token ids, special tokens included.
        places: for every id, the index of the prompt's span that it belongs to.
        count: number of tokens without the limit.
        truncated: the truncated text; empty when the prompt fits.
    """

    ids: list[int]
    places: list[int]
    count: int
    truncated: str


@dataclass(frozen=True)
class Reading:
    """A tokenized prompt: its tag and the tokens of both encoders."""

    tag: str
    clip: Tokens
    bert: Tokens


def read(prompt: str, clip: Tokenizer, bert: Tokenizer) -> Reading:
    """Normalise a prompt, tag its languages, and tokenize each span for its encoder.

    Args:
        prompt: text as the user wrote it.
        clip: see :func:`clip_tokenizer`.
        bert: see :func:`bert_tokenizer`.

    Raises:
        ZImageError: ``ZI-TEXT-…`` for a prompt that cannot be read.
    """
    tagged = spans.tag(prompt_rules.prepare(prompt))
    routed = list(enumerate(spans.route(tagged)))
    chinese, other = encoder_limits.join(span for _, span in routed)
    chinese_owners = [index for index, span in routed if span.chinese for _ in span.text]
    other_owners = [
        index for index, span in routed if not span.chinese for _ in span.text.strip() + " "
    ]
    return Reading(
        tagged.tag, _tokens(clip, other, other_owners), _tokens(bert, chinese, chinese_owners)
    )


def _tokens(tokenizer: Tokenizer, text: str, owners: list[int]) -> Tokens:
    """Tokenize a text; ``owners`` has the index of the span for each of its characters."""
    encoding = tokenizer.encode(text)
    inner = encoding.offsets[1:-1]  # without the special tokens
    cut = encoder_limits.cut(inner, len(text), LIMIT)
    offsets = inner[: LIMIT - 2]
    places = [owners[start] if end > start else 0 for start, end in offsets]
    ids = [*encoding.ids[: len(offsets) + 1], encoding.ids[-1]]
    return Tokens(ids, [0, *places, 0], cut.count, text[cut.position :])


def arrange(rows: list[Tokens], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, mask and places of several prompts, each [B, 77]; ``pad`` is the padding id."""
    ids = torch.full((len(rows), LIMIT), pad)
    mask = torch.zeros(len(rows), LIMIT, dtype=torch.bool)
    places = torch.zeros(len(rows), LIMIT, dtype=torch.long)
    for index, row in enumerate(rows):
        count = len(row.ids)
        ids[index, :count] = torch.tensor(row.ids)
        mask[index, :count] = True
        places[index, :count] = torch.tensor(row.places)
    return ids, mask, places


def clip_tokenizer(folder: Path) -> Tokenizer:
    """Return CLIP's byte-pair tokenizer from a folder with ``vocab.json`` and ``merges.txt``."""
    from transformers import CLIPTokenizerFast

    return CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True).backend_tokenizer


def bert_tokenizer(vocabulary: Path, rows: int) -> Tokenizer:
    """Return Chinese BERT's WordPiece tokenizer over the first ``rows`` lines of a ``vocab.txt``.

    It converts to lower case, removes accents and makes every Han character a token, as all
    published Chinese BERTs do.

    Raises:
        ZImageError: ``ZI-FILE-MISSING``; ``ZI-FILE-UNREADABLE``, also for a vocabulary without
            one of the special tokens.
    """
    try:
        words = vocabulary.read_text(encoding="utf-8").split("\n")[:rows]
    except OSError as error:
        raise unreadable(vocabulary, error) from error
    except UnicodeDecodeError as error:
        found = Bilingual("内容不是 UTF-8", "it is not UTF-8")
        raise ZImageError("ZI-FILE-UNREADABLE", path=vocabulary.name, found=found) from error
    ids = {word.rstrip("\r"): id for id, word in enumerate(words) if word}
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in ids]
    if missing:
        names = ", ".join(missing)
        found = Bilingual(f"其中没有 {names}", f"there is no {names} in it")
        raise ZImageError("ZI-FILE-UNREADABLE", path=vocabulary.name, found=found)
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = (("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    tokenizer.post_processor = processors.BertProcessing(*special)
    return tokenizer

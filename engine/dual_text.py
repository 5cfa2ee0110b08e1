"""A prompt for two encoders: which of its words go to CLIP, which to BERT, and what is cut.

Each encoder reads at most 77 tokens, its two special ones included; the tail is cut at the end
of a token, never within one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from ..text import encoder_limits, prompt_rules, spans

LIMIT = encoder_limits.DUAL


@dataclass(frozen=True)
class Tokens:
    """What one encoder reads.

    Attributes:
        ids: at most :data:`LIMIT` token ids, special ones included.
        places: for every id the number of the prompt's span it stands in.
        whole: how many tokens there would be without the limit.
        rest: the characters that are not read, empty when all are.
    """

    ids: list[int]
    places: list[int]
    whole: int
    rest: str


@dataclass(frozen=True)
class Reading:
    """How a prompt is read: its tag and the tokens of both encoders."""

    tag: str
    clip: Tokens
    bert: Tokens


def read(prompt: str, clip: Tokenizer, bert: Tokenizer) -> Reading:
    """Clean a prompt, tag it, send each span to its encoder.

    Args:
        clip, bert: see :func:`clip_tokenizer` and :func:`bert_tokenizer`.

    Raises:
        ZImageError: ``ZI-TEXT-…`` for a prompt that cannot be read.
    """
    tagged = spans.tag(prompt_rules.prepare(prompt))
    routed = list(enumerate(spans.route(tagged)))
    chinese, other = encoder_limits.join(span for _, span in routed)
    own = [number for number, span in routed if span.chinese for _ in span.text]
    rest = [n for n, span in routed if not span.chinese for _ in span.text.strip() + " "]
    return Reading(tagged.tag, _tokens(clip, other, rest), _tokens(bert, chinese, own))


def _tokens(tokenizer: Tokenizer, text: str, owner: list[int]) -> Tokens:
    """Args: ``owner`` has the number of the span for every character of the text."""
    found = tokenizer.encode(text)
    inner = found.offsets[1:-1]
    cut = encoder_limits.cut(inner, len(text), LIMIT)
    kept = inner[: LIMIT - 2]
    places = [owner[start] if end > start else 0 for start, end in kept]
    ids = [*found.ids[: len(kept) + 1], found.ids[-1]]
    return Tokens(ids, [0, *places, 0], cut.count, text[cut.position :])


def arrange(rows: list[Tokens], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, mask and places of several prompts, each [B, 77]."""
    ids = torch.full((len(rows), LIMIT), pad)
    mask = torch.zeros(len(rows), LIMIT, dtype=torch.bool)
    places = torch.zeros(len(rows), LIMIT, dtype=torch.long)
    for number, row in enumerate(rows):
        count = len(row.ids)
        ids[number, :count] = torch.tensor(row.ids)
        mask[number, :count] = True
        places[number, :count] = torch.tensor(row.places)
    return ids, mask, places


def clip_tokenizer(folder: Path) -> Tokenizer:
    """CLIP's byte-pair tokenizer from a folder with ``vocab.json`` and ``merges.txt``."""
    from transformers import CLIPTokenizerFast

    return CLIPTokenizerFast.from_pretrained(str(folder), local_files_only=True).backend_tokenizer


def bert_tokenizer(vocabulary: Path, rows: int) -> Tokenizer:
    """Chinese BERT's WordPiece tokenizer over the first ``rows`` lines of a ``vocab.txt``.

    Lower case, accents removed, every Han character a token: as all published Chinese BERTs.
    """
    words = vocabulary.read_text(encoding="utf-8").split("\n")[:rows]
    numbers = {word.rstrip("\r"): number for number, word in enumerate(words) if word}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = (("[SEP]", numbers["[SEP]"]), ("[CLS]", numbers["[CLS]"]))
    tokenizer.post_processor = processors.BertProcessing(*ends)
    return tokenizer

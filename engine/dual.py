"""Two text encoders and an adapter as one CLIP of the host.

English goes through CLIP-L, Chinese through a Chinese BERT, and the adapter turns both into the
caption features that the diffusion model knows. The result is the host's own CLIP object, so the
stock text nodes work with it and its memory is managed like any other's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ZImageError
from . import dual_files, dual_text, host
from .adapter import Adapter, Encoded, agreement, probe

ENOUGH = 0.9
"""Agreement of fingerprints; fine-tuning of one model keeps it near 1, other models give near 0."""


class DualEncoder(nn.Module):
    """CLIP, BERT and adapter behind the interface of the host's text models."""

    def __init__(self, clip: nn.Module, bert: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.clip, self.bert, self.adapter = clip, bert, adapter
        self.dtypes = {next(adapter.parameters()).dtype}

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """The host's "clip skip" means nothing here."""

    def reset_clip_options(self) -> None:
        """See :meth:`set_clip_options`."""

    def encode_token_weights(self, tokens: dict[str, list]) -> tuple[torch.Tensor, None]:
        """Caption features [1, queries, caption width] of a tokenized prompt."""
        device = self.adapter.queries.device
        clip = self._states(self.clip, tokens["clip"][0], 49407, device)
        bert = self._states(self.bert, tokens["bert"][0], 0, device)
        return self.adapter(clip, bert).float().cpu(), None

    def _states(self, encoder: nn.Module, row: list, pad: int, device: torch.device) -> Encoded:
        ids, _, places = zip(*row, strict=True)
        tokens = dual_text.Tokens(list(ids), list(places), len(row), "")
        number, mask, place = (t.to(device) for t in dual_text.arrange([tokens], pad))
        # CLIP of the host takes exactly 77; what it says of the empty rest is masked.
        states = encoder(number, attention_mask=mask.long(), dtype=torch.float32)[0]
        return Encoded(states, mask, place)


class DualTokenizer:
    """Both tokenizers behind the interface of the host's."""

    def __init__(self, clip: Any, bert: Any) -> None:
        self.tokenizers = clip, bert

    def read(self, prompt: str) -> dual_text.Reading:
        """How a prompt is read, see :func:`dual_text.read`."""
        return dual_text.read(prompt, *self.tokenizers)

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> dict:
        """``{"clip": [[(id, weight, place), …]], "bert": …}``; weights are always 1."""
        reading = self.read(text)
        return {
            name: [[(number, 1.0, place) for number, place in zip(t.ids, t.places, strict=True)]]
            for name, t in (("clip", reading.clip), ("bert", reading.bert))
        }

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}


def load(
    clip: str | os.PathLike[str],
    bert: str | os.PathLike[str],
    adapter: str | os.PathLike[str],
    model: Any,
) -> Any:
    """Both encoders and their adapter as the host's CLIP, for one diffusion model.

    Raises:
        ZImageError: as :mod:`.dual_files`; ``ZI-DUAL-OTHER`` when the adapter was trained for other
            encoders or another diffusion model; ``ZI-TEXT-WIDTH``.
    """
    config, state = dual_files.load_adapter(adapter)
    name = Path(adapter).name
    width = host.caption_width(model)
    if width != config.caption_width:
        raise ZImageError("ZI-TEXT-WIDTH", found=config.caption_width, expected=width)
    _recognise(name, state["probe.caption"], probe(host.caption_weight(model)), "model", "MODEL")

    words = 0

    def build(dtype: torch.dtype, device: Any) -> DualEncoder:
        nonlocal words
        parts = dual_files.load_clip(clip, dtype, device), dual_files.load_bert(bert, dtype, device)
        words = len(parts[1].embeddings.word_embeddings.weight)
        for kind, part, file in zip(("clip", "bert"), parts, (clip, bert), strict=True):
            _recognise(
                name, state[f"probe.{kind}"], probe(dual_files.first_query(part)), kind, file
            )
        return DualEncoder(*parts, host.build_adapter(Adapter, config, state, dtype, device))

    return host.build_clip(build, lambda: DualTokenizer(*dual_files.tokenizers(bert, words)))


def _recognise(
    adapter: str, known: torch.Tensor, seen: torch.Tensor, kind: str, file: str | os.PathLike[str]
) -> None:
    rows = known if known.ndim == 2 else known[None]
    closest = max((agreement(row, seen) for row in rows), default=0.0)
    if not closest >= ENOUGH:
        raise ZImageError(
            "ZI-DUAL-OTHER", path=adapter, kind=kind, file=Path(file).name, found=f"{closest:.2f}"
        )

"""Two text encoders and an adapter as one CLIP of the host.

CLIP-L encodes English and a Chinese BERT encodes Chinese. The adapter turns both into the caption
features that the diffusion model was trained with. The result is the host's own CLIP object: stock
text nodes accept it, and the host manages its memory.
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
"""Least agreement of fingerprints: about 1 for a fine-tuned model, about 0 for another model."""


class DualEncoder(nn.Module):
    """CLIP, BERT and adapter behind the interface of the host's text models."""

    def __init__(self, clip: nn.Module, bert: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.clip = clip
        self.bert = bert
        self.adapter = adapter
        self.dtypes = {next(adapter.parameters()).dtype}

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """Ignore the host's "clip skip", which does not apply to the dual encoder."""

    def reset_clip_options(self) -> None:
        """Do nothing, see :meth:`set_clip_options`."""

    def encode_token_weights(self, tokens: dict[str, list]) -> tuple[torch.Tensor, None]:
        """Return caption features [1, queries, caption width] of a tokenized prompt."""
        device = self.adapter.queries.device
        clip = self._states(self.clip, tokens["clip"][0], 49407, device)
        bert = self._states(self.bert, tokens["bert"][0], 0, device)
        return self.adapter(clip, bert).float().cpu(), None

    def _states(self, encoder: nn.Module, row: list, pad: int, device: torch.device) -> Encoded:
        ids, _, places = zip(*row, strict=True)
        tokens = dual_text.Tokens(list(ids), list(places), len(row), "")
        id_tensor, mask, place_tensor = (t.to(device) for t in dual_text.arrange([tokens], pad))
        # The host's CLIP requires 77 tokens; the adapter masks the states of padding.
        states = encoder(id_tensor, attention_mask=mask.long(), dtype=torch.float32)[0]
        return Encoded(states, mask, place_tensor)


class DualTokenizer:
    """Both tokenizers behind the interface of the host's tokenizers."""

    def __init__(self, clip: Any, bert: Any) -> None:
        self.tokenizers = clip, bert

    def read(self, prompt: str) -> dual_text.Reading:
        """Tokenize a prompt for both encoders, see :func:`dual_text.read`."""
        return dual_text.read(prompt, *self.tokenizers)

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> dict:
        """Return ``{"clip": [[(id, weight, place), …]], "bert": …}``; weights are always 1."""
        reading = self.read(text)
        return {
            name: [[(id, 1.0, place) for id, place in zip(tokens.ids, tokens.places, strict=True)]]
            for name, tokens in (("clip", reading.clip), ("bert", reading.bert))
        }

    def state_dict(self) -> dict[str, Any]:
        """Return an empty dictionary: there is nothing to save."""
        return {}


def load(
    clip: str | os.PathLike[str],
    bert: str | os.PathLike[str],
    adapter: str | os.PathLike[str],
    model: Any,
) -> Any:
    """Load both encoders and their adapter as the host's CLIP, for one diffusion model.

    Args:
        clip: file of CLIP-L.
        bert: file of a Chinese BERT.
        adapter: file of the adapter.
        model: the host's MODEL.

    Raises:
        ZImageError: as :mod:`.dual_files`; ``ZI-DUAL-OTHER`` when the adapter was trained for other
            encoders or another diffusion model; ``ZI-TEXT-WIDTH``.
    """
    config, state = dual_files.load_adapter(adapter)
    name = Path(adapter).name
    width = host.caption_width(model)
    if width != config.caption_width:
        raise ZImageError("ZI-TEXT-WIDTH", found=config.caption_width, expected=width)
    _check_probe(name, state["probe.caption"], probe(host.caption_weight(model)), "model", "MODEL")

    words = 0

    def build(dtype: torch.dtype, device: Any) -> DualEncoder:
        nonlocal words
        encoders = (
            dual_files.load_clip(clip, dtype, device),
            dual_files.load_bert(bert, dtype, device),
        )
        words = len(encoders[1].embeddings.word_embeddings.weight)
        for kind, encoder, file in zip(("clip", "bert"), encoders, (clip, bert), strict=True):
            actual = probe(dual_files.first_query(encoder))
            _check_probe(name, state[f"probe.{kind}"], actual, kind, file)
        return DualEncoder(*encoders, host.build_adapter(Adapter, config, state, dtype, device))

    return host.build_clip(build, lambda: DualTokenizer(*dual_files.tokenizers(bert, words)))


def _check_probe(
    adapter: str,
    trained: torch.Tensor,
    actual: torch.Tensor,
    kind: str,
    file: str | os.PathLike[str],
) -> None:
    """Compare a model's fingerprint with those that the adapter was trained with."""
    rows = trained if trained.ndim == 2 else trained[None]
    closest = max((agreement(row, actual) for row in rows), default=0.0)
    if not closest >= ENOUGH:
        raise ZImageError(
            "ZI-DUAL-OTHER",
            path=adapter,
            kind=kind,
            file=Path(file).name,
            found=f"{closest:.2f}",
            expected=f"{ENOUGH:.2f}",
        )

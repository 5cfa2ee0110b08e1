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

MIN_AGREEMENT = 0.9
"""Smallest accepted cosine of two fingerprints: about 1 for a fine-tuned model, 0 for another."""
CLIP_PADDING = 49407
"""Id of CLIP's end-of-text token, with which the host pads."""
BERT_PADDING = 0
"""Id of BERT's ``[PAD]``."""


class DualEncoder(nn.Module):
    """CLIP, BERT and adapter with the interface of the host's text models.

    Args:
        clip: the host's CLIP text model.
        bert: the host's BERT.
        adapter: the trained adapter for these encoders.
    """

    def __init__(self, clip: nn.Module, bert: nn.Module, adapter: Adapter) -> None:
        super().__init__()
        self.clip = clip
        self.bert = bert
        self.adapter = adapter
        self.dtypes = {next(adapter.parameters()).dtype}  # the host reads it

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """Ignore the host's "clip skip", which does not apply to the dual encoder."""

    def reset_clip_options(self) -> None:
        """Do nothing, see :meth:`set_clip_options`."""

    def encode_token_weights(self, tokens: dict[str, list]) -> tuple[torch.Tensor, None]:
        """Return the caption features of a tokenized prompt, and None for the pooled output.

        Args:
            tokens: see :meth:`DualTokenizer.tokenize_with_weights`.

        Returns:
            Features [1, queries, caption width], float32 on the CPU.
        """
        clip = self._encode(self.clip, tokens["clip"][0], CLIP_PADDING)
        bert = self._encode(self.bert, tokens["bert"][0], BERT_PADDING)
        return self.adapter(clip, bert).float().cpu(), None

    def _encode(self, encoder: nn.Module, row: list[tuple[int, float, int]], pad: int) -> Encoded:
        """Return the output of one encoder for ``(id, weight, span)`` tokens, padded to 77."""
        device = self.adapter.queries.device
        ids, _, places = zip(*row, strict=True)
        tokens = dual_text.Tokens(list(ids), list(places), len(row), "")
        id_tensor, mask, place_tensor = (
            tensor.to(device) for tensor in dual_text.arrange([tokens], pad)
        )
        # The host's CLIP requires 77 tokens; the adapter masks the states of padding.
        states = encoder(id_tensor, attention_mask=mask.long(), dtype=torch.float32)[0]
        return Encoded(states, mask, place_tensor)


class DualTokenizer:
    """Both tokenizers with the interface of the host's tokenizers.

    Args:
        clip: see :func:`dual_text.clip_tokenizer`.
        bert: see :func:`dual_text.bert_tokenizer`.
    """

    def __init__(self, clip: Any, bert: Any) -> None:
        self.tokenizers = clip, bert

    def read(self, prompt: str) -> dual_text.Reading:
        """Tokenize a prompt for both encoders, see :func:`dual_text.read`.

        Raises:
            ZImageError: ``ZI-TEXT-…`` for a prompt that cannot be read.
        """
        return dual_text.read(prompt, *self.tokenizers)

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> dict:
        """Return ``{"clip": [[(id, weight, span), …]], "bert": [[…]]}``.

        Weights are always 1. ``span`` is the index of the prompt's span that has the token, see
        :class:`dual_text.Tokens`.
        """
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
    """Load two encoders and their adapter for one diffusion model.

    Args:
        clip: file of CLIP-L.
        bert: file of a Chinese BERT.
        adapter: file of the adapter.
        model: the host's MODEL.

    Returns:
        The host's CLIP.

    Raises:
        ZImageError: the codes of :func:`.dual_files.load_adapter`, :func:`.dual_files.load_clip`
            and :func:`.dual_files.tokenizers`; ``ZI-DUAL-OTHER`` for an adapter that was trained
            with other encoders or another diffusion model; ``ZI-TEXT-WIDTH`` for one with another
            width than the model's.
    """
    config, state = dual_files.load_adapter(adapter)
    name = Path(adapter).name
    width = host.caption_width(model)
    if width != config.caption_width:
        raise ZImageError("ZI-TEXT-WIDTH", found=config.caption_width, expected=width)
    _check_probe(name, state["probe.caption"], probe(host.caption_weight(model)), "model", "MODEL")

    def build_encoder(dtype: torch.dtype, device: Any) -> DualEncoder:
        clip_model = dual_files.load_clip(clip, dtype, device)
        bert_model = dual_files.load_bert(bert, dtype, device)
        for kind, encoder, file in (("clip", clip_model, clip), ("bert", bert_model, bert)):
            actual = probe(dual_files.first_query(encoder))
            _check_probe(name, state[f"probe.{kind}"], actual, kind, file)
        network = host.build_adapter(Adapter, config, state, dtype, device)
        return DualEncoder(clip_model, bert_model, network)

    def build_tokenizer() -> DualTokenizer:
        return DualTokenizer(*dual_files.tokenizers(bert, dual_files.bert_words(bert)))

    return host.build_clip(build_encoder, build_tokenizer)


def _check_probe(
    adapter: str,
    trained: torch.Tensor,
    actual: torch.Tensor,
    kind: str,
    file: str | os.PathLike[str],
) -> None:
    """Compare a model's fingerprint with those of the models that an adapter was trained with.

    Args:
        adapter: the adapter's file, as messages name it.
        trained: a fingerprint ``[rows]``, or several ``[models, rows]``.
        actual: the fingerprint ``[rows]`` of the model.
        kind: ``model``, ``clip`` or ``bert``.
        file: the model's file, of which messages have only the name.

    Raises:
        ZImageError: ``ZI-DUAL-OTHER`` if none of them agrees.
    """
    fingerprints = trained if trained.ndim == 2 else trained[None]
    closest = max((agreement(row, actual) for row in fingerprints), default=0.0)
    if not closest >= MIN_AGREEMENT:  # true for NaN, too
        raise ZImageError(
            "ZI-DUAL-OTHER",
            path=adapter,
            kind=kind,
            file=Path(file).name,
            found=f"{closest:.2f}",
            expected=f"{MIN_AGREEMENT:.2f}",
        )

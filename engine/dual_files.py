"""Load CLIP-L, Chinese BERT and the adapter from files, after a check of their headers.

CLIP files use the names of Hugging Face (also in a complete CLIP and in ComfyUI's ``clip_l``) or
those of OpenAI. BERT files use the names of Hugging Face, also the older ``gamma`` and ``beta``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ..errors import ZImageError
from . import architecture, dual_text, embedding, host, inspection
from .adapter import Adapter, AdapterConfig
from .weights import StateDict, Weights, open_weights

_CLIP_PREFIXES = (
    "cond_stage_model.",
    "conditioner.embedders.0.",
    "clip_l.",
    "transformer.",
    "text_model.",
)
"""Prefixes of a name, from the outer to the inner one. A name can have several."""
_PROBES = frozenset({"probe.caption", "probe.clip", "probe.bert"})
"""Tensors of an adapter's file: fingerprints of the models that it was trained with, see
:func:`.adapter.probe`."""
_CLIP_EMBEDDING = "embeddings.token_embedding"
_BERT_EMBEDDING = "embeddings.word_embeddings"
_MAX_SIZE = 8192
"""Largest size that an adapter may declare."""
_CLIP_TENSORS = re.compile(r"(embeddings|encoder|final_layer_norm)\.(?!position_ids)")
_BERT_TENSORS = re.compile(r"(embeddings|encoder)\.(?!position_ids)")
"""Starts of the names, by Hugging Face, of the tensors that are loaded."""
_OPENAI_NAMES = (
    (re.compile(r"^token_embedding\."), f"{_CLIP_EMBEDDING}."),
    (re.compile(r"^positional_embedding$"), "embeddings.position_embedding.weight"),
    (re.compile(r"^ln_final\."), "final_layer_norm."),
    (
        re.compile(r"^(?:transformer\.)?resblocks\.(\d+)\.ln_(\d)\."),
        r"encoder.layers.\1.layer_norm\2.",
    ),
    (
        re.compile(r"^(?:transformer\.)?resblocks\.(\d+)\.mlp\.c_fc\."),
        r"encoder.layers.\1.mlp.fc1.",
    ),
    (
        re.compile(r"^(?:transformer\.)?resblocks\.(\d+)\.mlp\.c_proj\."),
        r"encoder.layers.\1.mlp.fc2.",
    ),
    (re.compile(r"^(?:transformer\.)?resblocks\.(\d+)\.attn\."), r"encoder.layers.\1.self_attn."),
)
"""Patterns of OpenAI's names, and what Hugging Face has in their place."""
_FUSED_PROJECTION = re.compile(r"^(.+\.self_attn)\.in_proj_(weight|bias)$")
"""OpenAI's one tensor for query, key and value; Hugging Face has three."""


def clip_names(state: Mapping[str, torch.Tensor]) -> StateDict:
    """Return only the tensors of CLIP's text model, named as by Hugging Face.

    The names have no ``text_model.`` in front.
    """
    text_model: StateDict = {}
    for name, tensor in state.items():
        name = _without_prefixes(name)
        for pattern, replacement in _OPENAI_NAMES:
            name = pattern.sub(replacement, name)
        fused = _FUSED_PROJECTION.match(name)
        if fused:
            for letter, projection in zip("qkv", tensor.chunk(3), strict=True):
                text_model[f"{fused[1]}.{letter}_proj.{fused[2]}"] = projection
        elif _CLIP_TENSORS.match(name):
            text_model[name] = tensor
    return text_model


def bert_names(state: Mapping[str, torch.Tensor]) -> StateDict:
    """Return only the tensors of BERT's embeddings and encoder, named as by Hugging Face.

    The names have no ``bert.`` in front, and ``weight`` and ``bias`` for ``gamma`` and ``beta``.
    """
    encoder: StateDict = {}
    for name, tensor in state.items():
        name = name.removeprefix("bert.")
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if _BERT_TENSORS.match(name):
            encoder[name] = tensor
    return encoder


def _without_prefixes(name: str) -> str:
    """Return a tensor's name without prefixes.

    In OpenAI's names, ``transformer.`` is part of the name and not a prefix.
    """
    if "resblocks" in name:
        return name
    for prefix in _CLIP_PREFIXES:
        name = name.removeprefix(prefix)
    return name


_KINDS = {
    architecture.CLIP: (clip_names, _CLIP_EMBEDDING, host.CLIP_VOCABULARY),
    architecture.BERT: (bert_names, _BERT_EMBEDDING, host.BERT_VOCABULARY),
}
"""By kind of encoder: the function for its names, its token embedding, and the rows of that."""


def load_clip(path: str | os.PathLike[str], dtype: torch.dtype, device: Any) -> torch.nn.Module:
    """Return CLIP's text model with the weights of a file, as the host's class.

    Raises:
        ZImageError: ``ZI-FILE-*``, ``ZI-MODEL-KIND`` or ``ZI-MODEL-KEYS``.
    """
    return _load(path, architecture.CLIP, dtype, device)


def load_bert(path: str | os.PathLike[str], dtype: torch.dtype, device: Any) -> torch.nn.Module:
    """Return BERT with the weights of a file, as the host's class.

    Raises:
        ZImageError: as :func:`load_clip`.
    """
    return _load(path, architecture.BERT, dtype, device)


def _load(
    path: str | os.PathLike[str], kind: str, dtype: torch.dtype, device: Any
) -> torch.nn.Module:
    """Check the header of an encoder's file, then build the encoder with its weights."""
    with architecture.coded(Path(path).name):
        weights = open_weights(path)
        outline = _named(weights, kind, weights.outline())
        config = _config(weights, kind, outline)
        inspection.check_shapes(outline, host.encoder_shapes(kind, config), weights)
        state = _named(weights, kind, weights.load())
        return host.build_encoder(kind, config, state, dtype, device)


def _named(weights: Weights, kind: str, state: StateDict) -> StateDict:
    """Return the tensors of a file, or its outline, with the host's names and a full embedding.

    Raises:
        ZImageError: as :func:`.embedding.expand`.
    """
    rename, table, rows = _KINDS[kind]
    renamed = rename(state)
    return embedding.expand(renamed, rows, weights.name, f"{table}.weight", f"{table}.ids")


def _config(weights: Weights, kind: str, outline: StateDict) -> dict[str, Any]:
    """Return the configuration of the host's class, see :func:`.architecture.encoder_config`."""
    shapes = inspection.shapes(outline)
    return architecture.encoder_config(kind, shapes, weights.name, weights.outline())


def bert_words(path: str | os.PathLike[str]) -> int:
    """Return the number of rows of a BERT file's embedding; only the header is read.

    Raises:
        ZImageError: as :func:`load_clip`.
    """
    with architecture.coded(Path(path).name):
        weights = open_weights(path)
        outline = _named(weights, architecture.BERT, weights.outline())
        _config(weights, architecture.BERT, outline)  # refuses other models
        return outline[f"{_BERT_EMBEDDING}.weight"].shape[0]


def first_query(encoder: torch.nn.Module) -> torch.Tensor:
    """Return the query weight of an encoder's first layer, ``[width, width]``.

    Its fingerprint identifies the encoder.
    """
    state = encoder.state_dict()
    queries = [name for name in state if name.endswith(("q_proj.weight", "query.weight"))]
    return state[min(queries)]  # layer 0 is the first in alphabetical order, too


def tokenizers(bert: str | os.PathLike[str] | None, rows: int = 0) -> tuple[Tokenizer, Tokenizer]:
    """Return the tokenizers of CLIP (the host's) and of BERT.

    BERT's vocabulary is ``vocab.txt`` in the folder of the file, or else the host's.

    Args:
        bert: the BERT file, None for the host's vocabulary.
        rows: see :func:`bert_words`; 0 for the number of words in the host's vocabulary.

    Raises:
        ZImageError: ``ZI-DUAL-VOCABULARY`` when the vocabulary has fewer words than ``rows``;
            ``ZI-FILE-…`` as for :func:`.dual_text.bert_tokenizer`.
    """
    vocabulary = host.bert_vocabulary()
    if bert:
        beside_file = Path(bert).parent / "vocab.txt"
        if os.path.lexists(beside_file):  # a broken link is an error, not a missing file
            vocabulary = beside_file
    rows = rows or host.BERT_VOCABULARY
    tokenizer = dual_text.bert_tokenizer(vocabulary, rows)
    count = tokenizer.get_vocab_size()
    if count < rows:
        name = Path(bert).name if bert else ""
        raise ZImageError("ZI-DUAL-VOCABULARY", path=name, found=count, expected=rows)
    return dual_text.clip_tokenizer(host.clip_vocabulary()), tokenizer


def load_adapter(path: str | os.PathLike[str]) -> tuple[AdapterConfig, StateDict]:
    """Return the sizes and the weights of a trained adapter, fingerprints included.

    Raises:
        ZImageError: ``ZI-FILE-*``, also for a weight that is NaN or infinite; ``ZI-MODEL-KIND``;
            ``ZI-MODEL-KEYS``; ``ZI-DUAL-UNTRAINED``.
    """
    with architecture.coded(Path(path).name):
        weights = open_weights(path)
        config = _adapter_config(weights)
        with torch.device("meta"):
            expected = inspection.shapes(Adapter(config).state_dict())
        outline = weights.outline()
        layers = {name: outline[name] for name in outline.keys() - _PROBES}
        inspection.check_shapes(layers, expected, weights)
        state = weights.load()
        _check_weights(state, weights.name)
        return config, state


def _check_weights(state: StateDict, path: str) -> None:
    """Refuse an adapter with weights that are not finite, or one that was never trained.

    Raises:
        ZImageError: ``ZI-FILE-CORRUPT`` or ``ZI-DUAL-UNTRAINED``.
    """
    for name, tensor in state.items():
        if not torch.isfinite(tensor.float()).all():  # torch has no isfinite for fp8
            found = f"{name}: NaN / ∞"
            raise ZImageError("ZI-FILE-CORRUPT", path=path, found=found, expected="|x| < ∞")
    # The last layer is zero before training.
    if _PROBES - state.keys() or not state["output.weight"].float().any():
        raise ZImageError("ZI-DUAL-UNTRAINED", path=path)


def _adapter_config(weights: Weights) -> AdapterConfig:
    """Return the sizes in a file's metadata.

    Raises:
        ZImageError: ``ZI-FILE-CORRUPT``, ``ZI-MODEL-KIND``, ``ZI-MODEL-KEYS`` or
            ``ZI-DUAL-UNTRAINED``.
    """
    declared = architecture.declared(weights.metadata, weights.name)
    if declared.get("kind") != "adapter":
        raise architecture.wrong_kind(
            weights.name, architecture.ADAPTER, architecture.describe(weights.outline())
        )
    if not declared.get("trained"):
        raise ZImageError("ZI-DUAL-UNTRAINED", path=weights.name)
    config = declared.get("config")
    names = [field.name for field in fields(AdapterConfig)]
    values: dict[str, Any] = config if isinstance(config, dict) else {}
    sizes: list[Any] = [values.get(name) for name in names]
    if any(type(size) is not int or not 0 < size <= _MAX_SIZE for size in sizes):
        raise ZImageError(
            "ZI-MODEL-KEYS",
            path=weights.name,
            found=f"{config!r:.100}",
            expected=f"{', '.join(names)}: 1 … {_MAX_SIZE}",
        )
    adapter_config = AdapterConfig(*sizes)
    # A multiple of the heads, and even for the sinusoids.
    if adapter_config.width % (2 * adapter_config.heads):
        raise ZImageError(
            "ZI-MODEL-KEYS",
            path=weights.name,
            found=f"width = {adapter_config.width}",
            expected=f"width = 2 × {adapter_config.heads} × n",
        )
    return adapter_config

"""Load CLIP-L, Chinese BERT and the adapter from published files, checked by their headers.

CLIP files use the names of Hugging Face (also in a complete CLIP and in ComfyUI's ``clip_l``) or
those of OpenAI. BERT files use the names of Hugging Face, also the older ``gamma`` and ``beta``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ..errors import ZImageError
from . import architecture, dual_text, embedding, host, inspection
from .adapter import Adapter, AdapterConfig
from .weights import StateDict, Weights, open_weights

PREFIXES = (
    "cond_stage_model.",
    "conditioner.embedders.0.",
    "clip_l.",
    "transformer.",
    "text_model.",
)
PROBES = frozenset({"probe.caption", "probe.clip", "probe.bert"})
"""Fingerprints of the files that an adapter was trained with, see :func:`.adapter.probe`."""
CLIP_EMBEDDING = "embeddings.token_embedding"
BERT_EMBEDDING = "embeddings.word_embeddings"
_CLIP = re.compile(r"(embeddings|encoder|final_layer_norm)\.(?!position_ids)")
_BERT = re.compile(r"(embeddings|encoder)\.(?!position_ids)")
_OPENAI = (
    (re.compile(r"^token_embedding\."), f"{CLIP_EMBEDDING}."),
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
_FUSED = re.compile(r"^(.+\.self_attn)\.in_proj_(weight|bias)$")


def clip_names(state: Mapping[str, torch.Tensor]) -> StateDict:
    """Return CLIP's text model alone, with Hugging Face's names without ``text_model.``."""
    out: StateDict = {}
    for name, tensor in state.items():
        name = _strip(name)
        for pattern, replacement in _OPENAI:
            name = pattern.sub(replacement, name)
        fused = _FUSED.match(name)
        if fused:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{fused[1]}.{part}_proj.{fused[2]}"] = piece
        elif _CLIP.match(name):
            out[name] = tensor
    return out


def bert_names(state: Mapping[str, torch.Tensor]) -> StateDict:
    """Return BERT's embeddings and encoder alone, with current names without ``bert.``."""
    out: StateDict = {}
    for name, tensor in state.items():
        name = name.removeprefix("bert.")
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if _BERT.match(name):
            out[name] = tensor
    return out


def _strip(name: str) -> str:
    for prefix in PREFIXES:
        if name.startswith(prefix) and "resblocks" not in name:
            name = name.removeprefix(prefix)
    return name


_KINDS = {
    "clip": (clip_names, CLIP_EMBEDDING, host.CLIP_VOCABULARY),
    "bert": (bert_names, BERT_EMBEDDING, host.BERT_VOCABULARY),
}


def load_clip(path: str | os.PathLike[str], dtype: torch.dtype, device: Any) -> torch.nn.Module:
    """Load CLIP's text model as the host's class.

    Raises:
        ZImageError: ``ZI-FILE-*``, ``ZI-MODEL-KIND`` or ``ZI-MODEL-KEYS``.
    """
    return _load(path, "clip", dtype, device)


def load_bert(path: str | os.PathLike[str], dtype: torch.dtype, device: Any) -> torch.nn.Module:
    """Load BERT as the host's class; errors as :func:`load_clip`."""
    return _load(path, "bert", dtype, device)


def _load(
    path: str | os.PathLike[str], kind: str, dtype: torch.dtype, device: Any
) -> torch.nn.Module:
    with architecture.coded(Path(path).name):
        weights = open_weights(path)
        outline = _named(weights, kind, weights.outline())
        config = _config(weights, kind, outline)
        inspection.check_shapes(outline, host.encoder_shapes(kind, config), weights)
        state = _named(weights, kind, weights.load())
        return host.build_encoder(kind, config, state, dtype, device)


def _named(weights: Weights, kind: str, state: StateDict) -> StateDict:
    """Return a state, or its outline, with the host's names and the full embedding table."""
    rename, table, rows = _KINDS[kind]
    return embedding.expand(rename(state), rows, weights.name, f"{table}.weight", f"{table}.ids")


def _config(weights: Weights, kind: str, outline: StateDict) -> dict[str, Any]:
    shapes = inspection.shapes(outline)
    return architecture.encoder_config(kind, shapes, weights.name, weights.outline())


def bert_words(path: str | os.PathLike[str]) -> int:
    """Return the rows of a BERT file's embedding, read from its header alone.

    Raises:
        ZImageError: as :func:`load_clip`.
    """
    with architecture.coded(Path(path).name):
        weights = open_weights(path)
        outline = _named(weights, "bert", weights.outline())
        _config(weights, "bert", outline)
        return outline[f"{BERT_EMBEDDING}.weight"].shape[0]


def first_query(encoder: torch.nn.Module) -> torch.Tensor:
    """Return the weight that identifies an encoder: the first layer's query, [width, width]."""
    state = encoder.state_dict()
    return state[min(name for name in state if name.endswith(("q_proj.weight", "query.weight")))]


def tokenizers(bert: str | os.PathLike[str] | None, rows: int = 0) -> tuple[Tokenizer, Tokenizer]:
    """Return the tokenizers of CLIP (the host's) and of BERT.

    BERT's vocabulary is ``vocab.txt`` in the folder of the file, or else the host's.

    Args:
        bert: the BERT file, None for the host's vocabulary.
        rows: rows of the file's embedding; 0 for the length of the host's vocabulary.

    Raises:
        ZImageError: ``ZI-DUAL-VOCABULARY`` when the vocabulary has fewer words than ``rows``.
    """
    beside = Path(bert).parent / "vocab.txt" if bert else None
    vocabulary = beside if beside and beside.is_file() else host.bert_vocabulary()
    rows = rows or host.BERT_VOCABULARY
    tokenizer = dual_text.bert_tokenizer(vocabulary, rows)
    count = tokenizer.get_vocab_size()
    if count < rows:
        name = Path(bert).name if bert else ""
        raise ZImageError("ZI-DUAL-VOCABULARY", path=name, found=count, expected=rows)
    return dual_text.clip_tokenizer(host.clip_vocabulary()), tokenizer


def load_adapter(path: str | os.PathLike[str]) -> tuple[AdapterConfig, StateDict]:
    """Load the sizes and the weights of a trained adapter.

    Raises:
        ZImageError: ``ZI-FILE-*``, ``ZI-MODEL-KIND``, ``ZI-MODEL-KEYS``, or ``ZI-DUAL-UNTRAINED``.
    """
    with architecture.coded(Path(path).name):
        weights = open_weights(path)
        config = _adapter_config(weights)
        with torch.device("meta"):
            expected = inspection.shapes(Adapter(config).state_dict())
        outline = {n: t for n, t in weights.outline().items() if n not in PROBES}
        inspection.check_shapes(outline, expected, weights)
        state = weights.load()
        if PROBES - state.keys() or not state["output.weight"].float().abs().max() > 0:
            raise ZImageError("ZI-DUAL-UNTRAINED", path=weights.name)
        broken = [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]
        if broken:
            raise ZImageError(
                "ZI-FILE-CORRUPT", path=weights.name, found=f"{broken[0]}: NaN", expected="|x| < ∞"
            )
        return config, state


def _adapter_config(weights: Weights) -> AdapterConfig:
    declared = architecture.declared(weights.metadata, weights.name)
    if declared.get("kind") != "adapter":
        raise architecture.wrong_kind(
            weights.name, architecture.ADAPTER, architecture.describe(weights.outline())
        )
    if not declared.get("trained"):
        raise ZImageError("ZI-DUAL-UNTRAINED", path=weights.name)
    config = declared.get("config", {})
    sizes = [config.get(name) for name in AdapterConfig.__dataclass_fields__]
    if any(type(size) is not int or not 0 < size <= 8192 for size in sizes):
        raise ZImageError(
            "ZI-MODEL-KEYS",
            path=weights.name,
            found=f"{config!r:.100}",
            expected=", ".join(AdapterConfig.__dataclass_fields__),
        )
    adapter_config = AdapterConfig(*sizes)
    if adapter_config.width % (2 * adapter_config.heads):
        raise ZImageError(
            "ZI-MODEL-KEYS",
            path=weights.name,
            found=f"width {adapter_config.width}",
            expected=f"2 * {adapter_config.heads} * n",
        )
    return adapter_config

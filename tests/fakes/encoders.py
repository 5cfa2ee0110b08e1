"""Tiny random CLIP and BERT encoders, made by transformers, in every layout that people have."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, CLIPTextConfig, CLIPTextModel

from zimage_comfyui.engine import adapter

SIZES = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2,
         "num_attention_heads": 2}  # fmt: skip
BERT_WORDS = 21128
State = dict[str, torch.Tensor]


def clip() -> CLIPTextModel:
    """CLIP's text model with its whole vocabulary."""
    torch.manual_seed(1)
    return CLIPTextModel(CLIPTextConfig(vocab_size=49408, hidden_act="quick_gelu", **SIZES)).eval()


def bert(words: int = BERT_WORDS) -> BertModel:
    """Chinese BERT."""
    torch.manual_seed(2)
    return BertModel(BertConfig(vocab_size=words, **SIZES)).eval()


def state_of(model: torch.nn.Module) -> State:
    """Names without ``text_model.``, which only some versions of transformers write."""
    state = {name.removeprefix("text_model."): t for name, t in model.state_dict().items()}
    return {name: tensor.contiguous() for name, tensor in state.items()}


def clip_layouts(state: State) -> dict[str, State]:
    """The same CLIP as Hugging Face, a whole CLIP, ComfyUI and OpenAI name it."""
    named = {f"text_model.{name}": tensor for name, tensor in state.items()}
    more = {"vision_model.embeddings.class_embedding": torch.zeros(3), "logit_scale": torch.ones(1),
            "text_model.embeddings.position_ids": torch.arange(77)[None],
            "text_projection.weight": torch.zeros(2, 2)}  # fmt: skip
    checkpoint = {f"cond_stage_model.transformer.{n}": t for n, t in named.items()}
    return {"hugging-face": named, "whole": named | more, "checkpoint": checkpoint,
            "bare": state, "openai": _openai(state)}  # fmt: skip


def _openai(state: State) -> State:
    out = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "visual.proj": torch.zeros(2),
    }
    renames = (("final_layer_norm", "ln_final"), ("encoder.layers", "transformer.resblocks"),
               ("layer_norm", "ln_"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
               ("self_attn", "attn"))  # fmt: skip
    for name, tensor in state.items():
        if name.startswith("embeddings") or any(f".{p}_proj." in name for p in "kv"):
            continue
        if ".q_proj." in name:
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            tensor = torch.cat(parts)
            name = name.replace("q_proj.", "in_proj_")
        for old, new in renames:
            name = name.replace(old, new)
        out[name] = tensor
    return out


def bert_layouts(state: State) -> dict[str, State]:
    """The same BERT today, with its heads, and with the names of the first conversions."""
    named = {f"bert.{name}": tensor for name, tensor in state.items()}
    heads = {"cls.predictions.bias": torch.zeros(3), "bert.embeddings.position_ids": torch.zeros(1)}
    first = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    old = named | heads
    for today, then in first:
        old = {name.replace(today, then): tensor for name, tensor in old.items()}
    return {"bare": state, "with heads": named | heads, "gamma and beta": old}


def write_adapter(
    path: Path, caption_weight: torch.Tensor, clip_state: State, bert_state: State, **declared
) -> Path:
    """A random adapter that says it was trained for these."""
    torch.manual_seed(3)
    config = adapter.AdapterConfig(128, 128, caption_weight.shape[1], 64, 2, 1, 32)
    made = adapter.Adapter(config).initialise()
    torch.nn.init.normal_(made.output.weight, std=0.1)
    state = {name: tensor.detach().clone() for name, tensor in made.state_dict().items()}
    state["probe.caption"] = adapter.probe(caption_weight)
    state["probe.clip"] = adapter.probe(clip_state["encoder.layers.0.self_attn.q_proj.weight"])
    state["probe.bert"] = adapter.probe(bert_state["encoder.layer.0.attention.self.query.weight"])
    about = {"kind": "adapter", "config": config.describe(), "trained": {"steps": 1}, **declared}
    if declared.pop("zero", False):
        state["output.weight"].zero_()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"zimage": json.dumps(about)})
    return path

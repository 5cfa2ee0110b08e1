"""From CLIP's and BERT's hidden states to the caption features that Z-Image was trained with.

Learned queries look at the tokens of both encoders (cross-attention), as in a perceiver resampler;
the last layer starts at zero, so an adapter that has learned nothing says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention


@dataclass(frozen=True)
class AdapterConfig:
    """Sizes of an adapter.

    Attributes:
        clip_width, bert_width: of the hidden states that come in (768 for CLIP-L and BERT-base).
        caption_width: of the features that go out, ``cap_feat_dim`` of the diffusion model.
        width, heads, layers: of the adapter itself.
        queries: features that go out; a multiple of 32, so that the model pads nothing.
    """

    clip_width: int
    bert_width: int
    caption_width: int
    width: int
    heads: int
    layers: int
    queries: int

    def describe(self) -> dict[str, int]:
        """As it stands in a file's metadata."""
        return asdict(self)


class Encoded(NamedTuple):
    """What one encoder gave.

    Attributes:
        states: hidden states, [B, T, encoder width].
        mask: [B, T] bool, False where there is no token.
        places: [B, T] int, number of the prompt's span that a token stands in, from 0. It tells
            which words of the two encoders belong together.
    """

    states: torch.Tensor
    mask: torch.Tensor
    places: torch.Tensor


class Adapter(nn.Module):
    """CLIP and BERT, joined on the token axis, to caption features [B, queries, caption width]."""

    def __init__(self, config: AdapterConfig, operations: Any = nn, **factory: Any) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.inputs = nn.ModuleDict(
            {
                "clip": operations.Linear(config.clip_width, width, **factory),
                "bert": operations.Linear(config.bert_width, width, **factory),
            }
        )
        self.types = nn.Parameter(torch.zeros(2, width, **factory))
        self.absent = nn.Parameter(torch.zeros(2, width, **factory))
        self.norm_in = operations.LayerNorm(width, **factory)
        self.queries = nn.Parameter(torch.empty(config.queries, width, **factory))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, operations, factory) for _ in range(config.layers)
        )
        self.norm_out = operations.LayerNorm(width, **factory)
        self.output = operations.Linear(width, config.caption_width, **factory)

    def initialise(self) -> Adapter:
        """Random weights; zeros in the last layer."""
        nn.init.normal_(self.queries, std=1.0)
        nn.init.normal_(self.types, std=0.5)
        nn.init.normal_(self.absent, std=0.02)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        return self

    def forward(self, clip: Encoded, bert: Encoded) -> torch.Tensor:
        """Caption features [B, queries, caption width], never masked."""
        tokens = self.norm_in(self.join(clip, bert))
        x = self.queries.to(tokens).expand(len(tokens), -1, -1)
        for block in self.blocks:
            x = block(x, tokens)
        return self.output(self.norm_out(x))

    def join(self, clip: Encoded, bert: Encoded) -> torch.Tensor:
        """[B, T of CLIP + T of BERT, width]; a slot without a token holds a learned vector."""
        parts = []
        for number, (name, given) in enumerate((("clip", clip), ("bert", bert))):
            x = self.inputs[name](given.states)
            x = x + self.types[number].to(x) + sinusoids(given.places, x.shape[-1]).to(x)
            parts.append(torch.where(given.mask[..., None], x, self.absent[number].to(x)))
        return torch.cat(parts, dim=1)


class Block(nn.Module):
    """Queries look at the tokens, then at each other, then each at itself."""

    def __init__(self, width: int, heads: int, operations: Any, factory: Mapping[str, Any]) -> None:
        super().__init__()
        self.look = Attention(width, heads, operations, factory)
        self.talk = Attention(width, heads, operations, factory)
        self.norm = operations.LayerNorm(width, **factory)
        self.wide = operations.Linear(width, 4 * width, **factory)
        self.narrow = operations.Linear(4 * width, width, **factory)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        x = x + self.look(x, tokens)
        x = x + self.talk(x, None)
        return x + self.narrow(gelu(self.wide(self.norm(x))))


class Attention(nn.Module):
    """Multi-head attention of normalised queries to ``tokens``, or to themselves."""

    def __init__(self, width: int, heads: int, operations: Any, factory: Mapping[str, Any]) -> None:
        super().__init__()
        self.heads = heads
        self.norm = operations.LayerNorm(width, **factory)
        self.q = operations.Linear(width, width, **factory)
        self.kv = operations.Linear(width, 2 * width, **factory)
        self.out = operations.Linear(width, width, **factory)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor | None) -> torch.Tensor:
        x = self.norm(x)
        key, value = self.kv(x if tokens is None else tokens).chunk(2, dim=-1)
        split = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.q(x), key, value)]
        return self.out(scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))


def sinusoids(places: torch.Tensor, width: int) -> torch.Tensor:
    """Sine and cosine of places [B, T] at ``width / 2`` wavelengths from 2 pi up, [B, T, width]."""
    half = width // 2
    rates = torch.exp(-math.log(100.0) / half * torch.arange(half, device=places.device))
    angles = places[..., None].float() * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def probe(weight: torch.Tensor) -> torch.Tensor:
    """A fingerprint of a weight [rows, columns] that fine-tuning hardly turns: [rows].

    The weight times a fixed vector. Two models that share their training agree in direction,
    unrelated ones do not.
    """
    columns = weight.shape[1]
    direction = torch.cos(torch.arange(columns, dtype=torch.float32) ** 2 * 0.7 + 1)
    return weight.detach().float().cpu() @ direction / columns**0.5


def agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    """Cosine of two fingerprints, 0 where they have not even the same length."""
    if a.shape != b.shape:
        return 0.0
    return float(nn.functional.cosine_similarity(a.float(), b.float(), dim=0))

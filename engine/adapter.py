"""The adapter network: hidden states of CLIP and BERT to the caption features of Z-Image.

Learned queries attend to the tokens of both encoders, as in a perceiver resampler. The last layer
starts at zero, so an untrained adapter returns zeros.
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
        clip_width, bert_width: width of the encoders' hidden states (768 for CLIP-L, BERT-base).
        caption_width: width of the caption features, ``cap_feat_dim`` of the diffusion model.
        width, heads, layers: sizes of the adapter itself.
        queries: number of caption features; a multiple of 32, so that the model needs no padding.
    """

    clip_width: int
    bert_width: int
    caption_width: int
    width: int
    heads: int
    layers: int
    queries: int

    def describe(self) -> dict[str, int]:
        """Return the sizes as they are written to a file's metadata."""
        return asdict(self)


class Encoded(NamedTuple):
    """Output of one encoder.

    Attributes:
        states: hidden states, [B, T, encoder width].
        mask: [B, T] bool, False for padding.
        places: [B, T] int, index of the prompt's span that a token belongs to, from 0. It relates
            the tokens of the two encoders to each other.
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
        """Set random weights, and zeros in the last layer; return the adapter itself."""
        nn.init.normal_(self.queries, std=1.0)
        nn.init.normal_(self.types, std=0.5)
        nn.init.normal_(self.absent, std=0.02)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        return self

    def forward(self, clip: Encoded, bert: Encoded) -> torch.Tensor:
        """Return caption features [B, queries, caption width]; none of them is padding."""
        tokens = self.norm_in(self.join(clip, bert))
        x = self.queries.to(tokens).expand(len(tokens), -1, -1)
        for block in self.blocks:
            x = block(x, tokens)
        return self.output(self.norm_out(x))

    def join(self, clip: Encoded, bert: Encoded) -> torch.Tensor:
        """Return the tokens of both encoders, [B, T of CLIP + T of BERT, width].

        A learned vector takes the place of padding.
        """
        projected = []
        for index, (name, encoded) in enumerate((("clip", clip), ("bert", bert))):
            x = self.inputs[name](encoded.states)
            x = x + self.types[index].to(x) + sinusoids(encoded.places, x.shape[-1]).to(x)
            projected.append(torch.where(encoded.mask[..., None], x, self.absent[index].to(x)))
        return torch.cat(projected, dim=1)


class Block(nn.Module):
    """Cross-attention of the queries to the tokens, self-attention, and a feed-forward layer."""

    def __init__(self, width: int, heads: int, operations: Any, factory: Mapping[str, Any]) -> None:
        super().__init__()
        self.look = Attention(width, heads, operations, factory)
        self.talk = Attention(width, heads, operations, factory)
        self.norm = operations.LayerNorm(width, **factory)
        self.wide = operations.Linear(width, 4 * width, **factory)
        self.narrow = operations.Linear(4 * width, width, **factory)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the queries [B, queries, width] after one block."""
        x = x + self.look(x, tokens)
        x = x + self.talk(x, None)
        return x + self.narrow(gelu(self.wide(self.norm(x))))


class Attention(nn.Module):
    """Multi-head attention with layer normalisation of its input."""

    def __init__(self, width: int, heads: int, operations: Any, factory: Mapping[str, Any]) -> None:
        super().__init__()
        self.heads = heads
        self.norm = operations.LayerNorm(width, **factory)
        self.q = operations.Linear(width, width, **factory)
        self.kv = operations.Linear(width, 2 * width, **factory)
        self.out = operations.Linear(width, width, **factory)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor | None) -> torch.Tensor:
        """Attend from x [B, L, width] to ``tokens`` [B, T, width], or to x where they are None."""
        x = self.norm(x)
        key, value = self.kv(x if tokens is None else tokens).chunk(2, dim=-1)
        heads = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.q(x), key, value)]
        return self.out(scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def sinusoids(places: torch.Tensor, width: int) -> torch.Tensor:
    """Return sine and cosine of places [B, T] at ``width / 2`` wavelengths: [B, T, width].

    The wavelengths start at 2 pi and grow geometrically, as in "Attention Is All You Need"
    (Vaswani et al., 2017), with base 100.
    """
    half = width // 2
    rates = torch.exp(-math.log(100.0) / half * torch.arange(half, device=places.device))
    angles = places[..., None].float() * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def probe(weight: torch.Tensor) -> torch.Tensor:
    """Return a fingerprint [rows] of a weight [rows, columns]: its product with a fixed vector.

    Fine-tuning hardly changes the direction of the fingerprint, and unrelated models differ in it.
    """
    columns = weight.shape[1]
    direction = torch.cos(torch.arange(columns, dtype=torch.float32) ** 2 * 0.7 + 1)
    return weight.detach().float().cpu() @ direction / columns**0.5


def agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the cosine of two fingerprints, -1 to 1; 0 where their lengths differ."""
    if a.shape != b.shape:
        return 0.0
    return float(nn.functional.cosine_similarity(a.float(), b.float(), dim=0))

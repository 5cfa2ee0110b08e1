"""Random arguments of the velocity with reference pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

LATENTS = [(6, 10), (12, 4), (8, 14)]
"""None square; 15, 12 and 28 tokens, so all are padded."""
FEATURES = [(5, 3), (7, 4), (2, 6)]
WHOLE, ODD = (32, 64, 32, 9), (4, 35, 2, 3)
"""Lengths of the pieces around the instruction, the last one behind it."""


def inputs(
    count: int, batch: int = 1, siglip: bool = False, around: Sequence[int] = ODD
) -> dict[str, Any]:
    """Random arguments of ``velocity`` with ``count`` references; captions of unequal length."""
    draw = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    lengths = torch.tensor([40, 17])[:batch, None]
    return {
        "noisy": normal(batch, 16, 10, 6),
        "sigma": torch.tensor([0.7, 0.3])[:batch],
        "text": normal(batch, 40, 128),
        "mask": torch.arange(40)[None] < lengths,
        "references": [normal(batch, 16, *size) for size in LATENTS[:count]],
        "around": [normal(1, n, 128) for n in (*around[:count], around[-1])] if count else [],
        "siglip": [normal(1, *grid, 48) for grid in FEATURES[:count]] if siglip else None,
    }

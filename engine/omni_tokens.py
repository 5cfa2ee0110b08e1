"""Captions, pictures and SigLIP2 features as tokens with their places, for :mod:`.omni`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """A stretch of the sequence.

    Attributes:
        values: ``[B, L, dim]``.
        places: ``[B or 1, L, 3]``: slot place, row, column, as float.
        noisy: ``[L]`` bool: modulated with t, else with 1.
        real: ``[B or 1, L]`` bool: attended; False only behind a caption shorter than others.
    """

    values: Tensor
    places: Tensor
    noisy: Tensor
    real: Tensor


def captions(
    module: Any, pieces: Sequence[Tensor | None], target: int, mask: Tensor | None, noisy: Tensor
) -> tuple[Tokens, list[Tensor]]:
    """All pieces, and for each the place ``[B or 1]`` right behind it, where its picture is."""
    multiple = module.pad_tokens_multiple or 1
    place = torch.ones(1, dtype=torch.long, device=noisy.device)
    parts, frames = [], []
    for index, piece in enumerate(pieces):
        length = 0 * place
        if piece is not None:
            length = length + piece.shape[1]
            values = module.cap_embedder(piece)
            if index == target and mask is not None:
                length = mask.sum(1)
                values = torch.where(mask[..., None], values, module.cap_pad_token.to(values))
            values = _pad(module, values, "cap_pad_token").expand(len(noisy), -1, -1)
            steps = torch.arange(values.shape[1], device=place.device)
            padded = -(-length // multiple) * multiple
            places = torch.nn.functional.pad((place[:, None] + steps)[..., None], (0, 2)).float()
            parts.append(_tokens(values, places, index >= target, steps < padded[:, None]))
            if len(pieces) == 1:  # no references: the host's own layout, where padding takes places
                length = padded
        frames.append(place + length)
        place = frames[-1] + 2
    return join(parts), frames


def picture(module: Any, latent: Tensor, frame: Tensor, noisy: bool) -> Tokens:
    """A latent ``[B, 16, h, w]`` as tokens, row by row, each 2 x 2 cells."""
    side = module.patch_size
    cells = latent.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # B, C, rows, 2, columns, 2
    rows, columns = cells.shape[2], cells.shape[4]
    values = module.x_embedder(cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
    places = _grid(frame, torch.arange(rows), torch.arange(columns))
    return _tokens(_pad(module, values, "x_pad_token"), places, noisy)


def features(
    module: Any, siglip: Sequence[Tensor | None], references: Sequence[Tensor], frames: list[Tensor]
) -> list[Tokens]:
    """SigLIP2 features of each reference, spread over it; padding alone where there are none.

    The noisy picture has none. A reference is measured in latent cells here, not in tokens.
    """
    parts = []
    nothing = references[0].new_zeros(len(references[0]), 0, module.dim)
    given = [*siglip[: len(references)], *[None] * (len(references) - len(siglip)), None]
    for index, feature in enumerate(given):
        if feature is None:
            values, places = nothing, frames[0].new_zeros(1, 0, 3).float()
        else:
            _, rows, columns, depth = feature.shape
            # Channels first and then cut again: the order that the weights were trained with.
            values = feature.movedim(-1, 1).reshape(-1, rows * columns, depth)
            values = module.siglip_embedder(values).expand(len(nothing), -1, -1)
            height, width = references[index].shape[-2:]
            places = _grid(frames[index] + 1, _spread(rows, height), _spread(columns, width))
        values = _pad(module, values, "siglip_pad_token", at_least=True)
        parts.append(_tokens(values, places, index == len(references)))
    return parts


def _spread(count: int, cells: int) -> Tensor:
    """``count`` whole positions from 0 to ``cells - 1``, rounded down."""
    return (torch.arange(count).float() / max(count - 1, 1) * (cells - 1)).int()


def _grid(frame: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Places ``[B or 1, rows x columns, 3]`` of a picture at ``frame``."""
    inner = torch.cartesian_prod(rows, columns).to(frame).expand(len(frame), -1, -1)
    first = frame[:, None, None].expand(-1, inner.shape[1], 1)
    return torch.cat((first, inner), dim=-1).float()


def _pad(module: Any, values: Tensor, token: str, at_least: bool = False) -> Tensor:
    """``[B, L, dim]`` to a multiple of 32 with a learned token; ``at_least`` also from nothing."""
    multiple, length = module.pad_tokens_multiple or 1, values.shape[1]
    missing = multiple if at_least and length == 0 else -length % multiple
    if missing == 0:
        return values
    filler = getattr(module, token).to(values).expand(len(values), missing, -1)
    return torch.cat((values, filler), dim=1)


def _tokens(values: Tensor, places: Tensor, noisy: bool, real: Tensor | None = None) -> Tokens:
    """A stretch whose padding, if it has no places yet, is at the origin."""
    length = values.shape[1]
    places = torch.nn.functional.pad(places, (0, 0, 0, length - places.shape[1]))
    flags = torch.full((length,), noisy, device=values.device)
    return Tokens(values, places, flags, torch.ones_like(flags)[None] if real is None else real)


def join(parts: Sequence[Tokens]) -> Tokens:
    """Stretches in a row; what was alike for the whole batch is repeated where it has to be."""
    batch = max(max(len(part.places), len(part.real)) for part in parts)
    return Tokens(
        torch.cat([part.values for part in parts], dim=1),
        torch.cat([part.places.expand(batch, -1, -1) for part in parts], dim=1),
        torch.cat([part.noisy for part in parts]),
        torch.cat([part.real.expand(batch, -1) for part in parts], dim=1),
    )

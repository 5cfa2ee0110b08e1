"""Captions, pictures and SigLIP2 features as tokens with positions, for :mod:`.omni`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Consecutive tokens of the sequence.

    Attributes:
        values: ``[B, L, dim]``.
        places: ``[B or 1, L, 3]``: position of the slot, row, column, as float.
        noisy: ``[L]`` bool: True for modulation with t, False for modulation with 1.
        real: ``[B or 1, L]`` bool: attended; False after the end of a shorter caption of a batch.
    """

    values: Tensor
    places: Tensor
    noisy: Tensor
    real: Tensor


def captions(
    module: Any, pieces: Sequence[Tensor | None], target: int, mask: Tensor | None, noisy: Tensor
) -> tuple[Tokens, list[Tensor]]:
    """Embed all pieces of the caption.

    Args:
        module: the host's ``NextDiT``.
        pieces: features ``[B or 1, l, width]``; None for a piece without tokens.
        target: index of the instruction's piece; tokens from there on are noisy.
        mask: ``[B, L]`` bool for the tokens of the instruction's piece, None for all.
        noisy: the noisy latents, for batch size and device.

    Returns:
        The tokens, and for each piece the position ``[B or 1]`` of the picture after it.
    """
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
            if len(pieces) == 1:  # without references, padding has positions, as in the host
                length = padded
        frames.append(place + length)
        place = frames[-1] + 2
    return join(parts), frames


def picture(module: Any, latent: Tensor, frame: Tensor, noisy: bool) -> Tokens:
    """Embed a latent ``[B, 16, h, w]``, row by row; a token has 2 x 2 cells."""
    side = module.patch_size
    cells = latent.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # B, C, rows, 2, columns, 2
    rows, columns = cells.shape[2], cells.shape[4]
    values = module.x_embedder(cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
    places = _grid(frame, torch.arange(rows), torch.arange(columns))
    return _tokens(_pad(module, values, "x_pad_token"), places, noisy)


def features(
    module: Any, siglip: Sequence[Tensor | None], references: Sequence[Tensor], frames: list[Tensor]
) -> list[Tokens]:
    """Embed SigLIP2 features of each reference; padding alone for a picture without features.

    The noisy picture has no features. Positions of features are spread over the latent cells of
    the reference, not over its tokens.
    """
    parts = []
    empty = references[0].new_zeros(len(references[0]), 0, module.dim)
    missing = [None] * (len(references) - len(siglip))
    for index, feature in enumerate([*siglip[: len(references)], *missing, None]):
        if feature is None:
            values = empty
            places = frames[0].new_zeros(1, 0, 3).float()
        else:
            _, rows, columns, depth = feature.shape
            # The weights were trained with features in channel-first order, read as if they were
            # channel-last.
            values = feature.movedim(-1, 1).reshape(-1, rows * columns, depth)
            values = module.siglip_embedder(values).expand(len(empty), -1, -1)
            height, width = references[index].shape[-2:]
            places = _grid(frames[index] + 1, _spread(rows, height), _spread(columns, width))
        values = _pad(module, values, "siglip_pad_token", at_least=True)
        parts.append(_tokens(values, places, index == len(references)))
    return parts


def _spread(count: int, cells: int) -> Tensor:
    """Return ``count`` integer positions from 0 to ``cells - 1``, evenly spaced, rounded down."""
    return (torch.arange(count).float() / max(count - 1, 1) * (cells - 1)).int()


def _grid(frame: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return positions ``[B or 1, rows x columns, 3]`` of a picture at slot position ``frame``."""
    inner = torch.cartesian_prod(rows, columns).to(frame).expand(len(frame), -1, -1)
    first = frame[:, None, None].expand(-1, inner.shape[1], 1)
    return torch.cat((first, inner), dim=-1).float()


def _pad(module: Any, values: Tensor, token: str, at_least: bool = False) -> Tensor:
    """Pad ``[B, L, dim]`` to a multiple of 32 with a learned token; ``at_least`` pads L = 0 too."""
    multiple, length = module.pad_tokens_multiple or 1, values.shape[1]
    missing = multiple if at_least and length == 0 else -length % multiple
    if missing == 0:
        return values
    filler = getattr(module, token).to(values).expand(len(values), missing, -1)
    return torch.cat((values, filler), dim=1)


def _tokens(values: Tensor, places: Tensor, noisy: bool, real: Tensor | None = None) -> Tokens:
    """Build :class:`Tokens`; padding without positions is placed at the origin."""
    length = values.shape[1]
    places = torch.nn.functional.pad(places, (0, 0, 0, length - places.shape[1]))
    flags = torch.full((length,), noisy, device=values.device)
    return Tokens(values, places, flags, torch.ones_like(flags)[None] if real is None else real)


def join(parts: Sequence[Tokens]) -> Tokens:
    """Concatenate tokens; positions and masks are expanded to the batch where parts differ."""
    batch = max(max(len(part.places), len(part.real)) for part in parts)
    return Tokens(
        torch.cat([part.values for part in parts], dim=1),
        torch.cat([part.places.expand(batch, -1, -1) for part in parts], dim=1),
        torch.cat([part.noisy for part in parts]),
        torch.cat([part.real.expand(batch, -1) for part in parts], dim=1),
    )

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
        places: ``[B or 1, L, 3]`` float: position on the first axis, row, column.
        noisy: ``[L]`` bool: True for modulation with t = 1 - sigma, False for t = 1.
        attended: ``[B or 1, L]`` bool: False after the end of a shorter caption of a batch.
    """

    values: Tensor
    places: Tensor
    noisy: Tensor
    attended: Tensor


def captions(
    module: Any, pieces: Sequence[Tensor | None], target: int, mask: Tensor | None, latents: Tensor
) -> tuple[Tokens, list[Tensor]]:
    """Embed all pieces of the caption.

    Args:
        module: the host's ``NextDiT``.
        pieces: features ``[B or 1, l, width]``; None for a piece without tokens.
        target: index of the instruction's piece; tokens from there on are noisy.
        mask: ``[B, l]`` bool for the tokens of the instruction's piece, None for all.
        latents: the noisy latents, for batch size and device.

    Returns:
        The tokens, and for each piece the position ``[B or 1]`` of the picture after it, on the
        first axis.
    """
    multiple = module.pad_tokens_multiple or 1
    start = torch.ones(1, dtype=torch.long, device=latents.device)
    parts, positions = [], []
    for index, piece in enumerate(pieces):
        length = torch.zeros_like(start)
        if piece is not None:
            length = length + piece.shape[1]
            values = module.cap_embedder(piece)
            if index == target and mask is not None:
                length = mask.sum(1)
                values = torch.where(mask[..., None], values, module.cap_pad_token.to(values))
            values = _pad(module, values, "cap_pad_token").expand(len(latents), -1, -1)
            steps = torch.arange(values.shape[1], device=start.device)
            padded_length = (length + multiple - 1) // multiple * multiple
            places = torch.nn.functional.pad((start[:, None] + steps)[..., None], (0, 2)).float()
            attended = steps < padded_length[:, None]
            parts.append(_make_tokens(values, places, index >= target, attended))
            if len(pieces) == 1:  # without references, padding has positions, as in the host
                length = padded_length
        positions.append(start + length)
        start = positions[-1] + 2  # after the picture and its features
    return join(parts), positions


def picture(module: Any, latent: Tensor, position: Tensor, noisy: bool) -> Tokens:
    """Embed a picture row by row. A token has 2 x 2 latent cells.

    Args:
        module: the host's ``NextDiT``.
        latent: ``[B, 16, h, w]``, h and w even.
        position: ``[B or 1]``, position of the picture on the first axis.
        noisy: whether it is the picture that is sampled, not a reference.
    """
    side = module.patch_size
    cells = latent.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # B, C, rows, 2, columns, 2
    rows, columns = cells.shape[2], cells.shape[4]
    values = module.x_embedder(cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
    places = _grid(position, torch.arange(rows), torch.arange(columns))
    return _make_tokens(_pad(module, values, "x_pad_token"), places, noisy)


def features(
    module: Any,
    siglip: Sequence[Tensor | None],
    references: Sequence[Tensor],
    positions: list[Tensor],
) -> list[Tokens]:
    """Embed the SigLIP2 features of each picture. A picture without features has only padding.

    The last picture, which is noisy, has no features. Positions of features are spread over the
    latent cells of the reference, not over its tokens.

    Args:
        module: the host's ``NextDiT`` with SigLIP2 weights.
        siglip: features ``[B or 1, rows, columns, channels]`` of each reference, None for none.
        references: latents ``[B, 16, h, w]``, at least one.
        positions: positions ``[B or 1]`` of the pictures on the first axis, as from
            :func:`captions`.

    Returns:
        Tokens of each reference, then those of the noisy picture.
    """
    parts = []
    empty = references[0].new_zeros(len(references[0]), 0, module.dim)
    missing = [None] * (len(references) - len(siglip))
    for index, feature in enumerate([*siglip[: len(references)], *missing, None]):
        if feature is None:
            values = empty
            places = positions[0].new_zeros(1, 0, 3).float()
        else:
            _, rows, columns, channels = feature.shape
            # The weights were trained with features in channel-first order, read as if they were
            # channel-last.
            values = feature.movedim(-1, 1).reshape(-1, rows * columns, channels)
            values = module.siglip_embedder(values).expand(len(empty), -1, -1)
            height, width = references[index].shape[-2:]
            rows_at, columns_at = _spread(rows, height), _spread(columns, width)
            places = _grid(positions[index] + 1, rows_at, columns_at)
        values = _pad(module, values, "siglip_pad_token", pad_empty=True)
        parts.append(_make_tokens(values, places, index == len(references)))
    return parts


def _spread(count: int, cells: int) -> Tensor:
    """Return ``[count]`` positions from 0 to ``cells - 1``, evenly spaced and rounded down."""
    return (torch.arange(count).float() / max(count - 1, 1) * (cells - 1)).int()


def _grid(position: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the places of a picture, row by row.

    Args:
        position: ``[B or 1]``, position of the picture on the first axis.
        rows: ``[R]``, positions of its rows.
        columns: ``[C]``, positions of its columns.

    Returns:
        ``[B or 1, R * C, 3]`` float.
    """
    cells = torch.cartesian_prod(rows, columns).to(position).expand(len(position), -1, -1)
    first_axis = position[:, None, None].expand(-1, cells.shape[1], 1)
    return torch.cat((first_axis, cells), dim=-1).float()


def _pad(module: Any, values: Tensor, token_name: str, pad_empty: bool = False) -> Tensor:
    """Pad ``[B, L, dim]`` to the model's multiple (32) with a learned token.

    Args:
        module: the host's ``NextDiT``.
        values: the tokens.
        token_name: name of the learned token ``[1, dim]`` in ``module``.
        pad_empty: whether L = 0 becomes one whole multiple.
    """
    multiple, length = module.pad_tokens_multiple or 1, values.shape[1]
    missing = multiple if pad_empty and length == 0 else -length % multiple
    if missing == 0:
        return values
    padding = getattr(module, token_name).to(values).expand(len(values), missing, -1)
    return torch.cat((values, padding), dim=1)


def _make_tokens(
    values: Tensor, places: Tensor, noisy: bool, attended: Tensor | None = None
) -> Tokens:
    """Return :class:`Tokens`. Tokens without a place, which are padding, get the origin."""
    length = values.shape[1]
    places = torch.nn.functional.pad(places, (0, 0, 0, length - places.shape[1]))
    flags = torch.full((length,), noisy, device=values.device)
    if attended is None:
        attended = torch.ones_like(flags)[None]
    return Tokens(values, places, flags, attended)


def join(parts: Sequence[Tokens]) -> Tokens:
    """Concatenate tokens; places and masks are expanded to the batch where parts differ."""
    batch = max(max(len(part.places), len(part.attended)) for part in parts)
    return Tokens(
        torch.cat([part.values for part in parts], dim=1),
        torch.cat([part.places.expand(batch, -1, -1) for part in parts], dim=1),
        torch.cat([part.noisy for part in parts]),
        torch.cat([part.attended.expand(batch, -1) for part in parts], dim=1),
    )

"""The compact token embedding of the small models, with rows only for the tokens they know."""

from __future__ import annotations

import torch

from ..errors import ZImageError
from ..errors.bilingual import Bilingual

StateDict = dict[str, torch.Tensor]

WEIGHT = "model.embed_tokens.weight"
IDS = "model.embed_tokens.ids"


def expand(
    state: StateDict, rows: int, path: str, weight: str = WEIGHT, numbers: str = IDS
) -> StateDict:
    """Replace ``[K, H]`` rows and ``[K-1]`` token ids by a full table ``[rows, H]``.

    Row ``i + 1`` of the compact weight belongs to token ``ids[i]``, row 0 to every other token. A
    state without ids is returned unchanged. On the meta device, only the shape is computed.

    Args:
        state: tensor names to tensors.
        rows: rows of the full table.
        path: the file, as error messages name it.
        weight: name of the compact table.
        numbers: name of its token ids.

    Raises:
        ZImageError: ``ZI-MODEL-KEYS`` when ids and rows do not match.
    """
    ids, compact = state.get(numbers), state.get(weight)
    if ids is None or compact is None:
        return state
    if compact.ndim != 2 or ids.dtype != torch.int64 or ids.shape != (compact.shape[0] - 1,):
        found = f"{numbers} {list(ids.shape)} {ids.dtype}, {weight} {list(compact.shape)}"
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected="[K-1] int64, [K, H]")
    out = {name: tensor for name, tensor in state.items() if name != numbers}
    if ids.is_meta:
        out[weight] = compact.new_empty(rows, compact.shape[1])
        return out
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < rows:
        span = f"{int(ids.min())} … {int(ids.max())}"
        found = Bilingual(f"词元编号 {span}", f"token ids {span}")
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=f"0 … {rows - 1}")
    out[weight] = compact[0].repeat(rows, 1)
    out[weight][ids] = compact[1:]
    return out

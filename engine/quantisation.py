"""Judge weights that are not plain floating point: would the host read them as they are meant?

The host ignores a scale that nothing announces and loads integers as if they were weights; both
end as noise. So a weight with a scale, or of an integer type, needs a declared format that this
version of the host has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ZImageError
from .safetensors_file import short

Formats = Mapping[str, Mapping[str, Any]]
"""The host's ``QUANT_ALGOS``: name to ``storage_t`` and more."""

NOTE = ".comfy_quant"  # a small tensor of JSON beside a weight; newer hosts read it
_METADATA = "_quantization_metadata"
_LEGACY = ".scale_weight"  # with a tensor "scaled_fp8" in the file
_MARKS = (_LEGACY, ".weight_scale", NOTE)


def declared(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Layer to the name of its format, from the metadata and from notes that are not on meta.

    Raises:
        ValueError: what is there is not the JSON that the host expects.
    """
    layers = _object(metadata[_METADATA]).get("layers") if _METADATA in metadata else {}
    if not isinstance(layers, dict):
        raise ValueError(f"{_METADATA}: layers")
    found = dict(layers)
    for name, tensor in state.items():
        if name.endswith(NOTE) and not tensor.is_meta:
            found[name.removesuffix(NOTE)] = _object(bytes(tensor.flatten().tolist()))
    if not all(isinstance(layer, dict) for layer in found.values()):
        raise ValueError(f"{_METADATA}: layers")
    return {name: str(layer.get("format")) for name, layer in found.items()}


def check(
    name: str,
    state: Mapping[str, torch.Tensor],
    layers: Mapping[str, str],
    formats: Formats,
    path: str,
) -> None:
    """Refuse the weight ``name`` when the host would misread it.

    Args:
        layers: see :func:`declared`.
        formats: what the host has; empty where the model is built without quantisation.

    Raises:
        ZImageError: ``ZI-MODEL-KEYS`` naming the tensor and its type.
    """
    tensor, stem = state[name], name.removesuffix(".weight")
    marks = [end for end in _MARKS if stem + end in state]
    kind = layers.get(stem)
    if kind is None and not marks and tensor.is_floating_point():
        return
    if kind is not None:
        storage = formats.get(kind, {}).get("storage_t")
        good = storage == tensor.dtype and f"{stem}.weight_scale" in state
    else:
        legacy = marks == [_LEGACY] and "scaled_fp8" in state
        good = legacy and bool(formats) and tensor.is_floating_point()
    if not good:
        dtype = str(tensor.dtype).removeprefix("torch.")
        reason = short(kind) if kind is not None else " + ".join(marks) or "without format"
        names = " | ".join(formats)
        raise ZImageError(
            "ZI-MODEL-KEYS",
            path=path,
            found=f"{short(name)}: {dtype} ({reason})",
            expected="bfloat16, float16, float32" + (f", {names}" if names else ""),
        )


def fits(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a weight has the shape of the host's; integers may hold two values per byte."""
    found = tuple(tensor.shape)
    if tensor.is_floating_point() or len(found) != 2 or len(shape) != 2:
        return found == shape
    return found[0] == shape[0] and shape[1] in (found[1], 2 * found[1])


def _object(text: str | bytes) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{_METADATA}: {type(value).__name__}")
    return value

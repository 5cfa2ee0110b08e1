"""Check that the host can read the quantised weights of a file.

The host ignores a scale without a declared format, and loads integers as if they were weights; both
give noise. A weight with a scale, or of an integer type, therefore needs a declared format that
this version of the host supports.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from .safetensors_file import short

Formats = Mapping[str, Mapping[str, Any]]
"""The host's ``QUANT_ALGOS``: format name to ``storage_t`` and other properties."""

NOTE = ".comfy_quant"  # a small JSON tensor beside a weight, which newer hosts read
_METADATA = "_quantization_metadata"
_LEGACY = ".scale_weight"  # with a tensor "scaled_fp8" in the file
_MARKS = (_LEGACY, ".weight_scale", NOTE)


def declared(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the format of each layer.

    Args:
        state: tensors by name; notes on the meta device are ignored.
        metadata: text metadata of the file.

    Raises:
        ValueError: for JSON other than the host expects.
    """
    layers = _object(metadata[_METADATA]).get("layers") if _METADATA in metadata else {}
    if not isinstance(layers, dict):
        raise ValueError(f"{_METADATA}: layers")
    declared_layers = dict(layers)
    for name, tensor in state.items():
        if name.endswith(NOTE) and not tensor.is_meta:
            declared_layers[name.removesuffix(NOTE)] = _object(bytes(tensor.flatten().tolist()))
    if not all(isinstance(layer, dict) for layer in declared_layers.values()):
        raise ValueError(f"{_METADATA}: layers")
    return {name: str(layer.get("format")) for name, layer in declared_layers.items()}


def check(
    name: str,
    state: Mapping[str, torch.Tensor],
    layers: Mapping[str, str],
    formats: Formats,
    path: str,
) -> None:
    """Refuse the weight ``name`` when the host would misread it.

    Args:
        name: name of the weight.
        state: tensors by name.
        layers: see :func:`declared`.
        formats: formats of the host; empty where the model is built without quantisation.
        path: the file, as error messages name it.

    Raises:
        ZImageError: ``ZI-MODEL-KEYS`` with the tensor and its type.
    """
    tensor = state[name]
    stem = name.removesuffix(".weight")
    marks = [end for end in _MARKS if stem + end in state]
    format = layers.get(stem)
    if format is None and not marks and tensor.is_floating_point():
        return
    if format is not None:
        storage = formats.get(format, {}).get("storage_t")
        supported = storage == tensor.dtype and f"{stem}.weight_scale" in state
    else:
        legacy = marks == [_LEGACY] and "scaled_fp8" in state
        supported = legacy and bool(formats) and tensor.is_floating_point()
    if not supported:
        dtype = str(tensor.dtype).removeprefix("torch.")
        reason = short(format) if format is not None else " + ".join(marks)
        found = Bilingual(
            f"{short(name)}: {dtype}（{reason or '未注明格式'}）",
            f"{short(name)}: {dtype} ({reason or 'without format'})",
        )
        names = " | ".join(formats)
        raise ZImageError(
            "ZI-MODEL-KEYS",
            path=path,
            found=found,
            expected="bfloat16, float16, float32" + (f", {names}" if names else ""),
        )


def fits(tensor: torch.Tensor, shape: tuple[int, ...]) -> bool:
    """Return whether a weight has the host's shape; integers may pack two values in a byte."""
    actual = tuple(tensor.shape)
    if tensor.is_floating_point() or len(actual) != 2 or len(shape) != 2:
        return actual == shape
    return actual[0] == shape[0] and shape[1] in (actual[1], 2 * actual[1])


def _object(text: str | bytes) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{_METADATA}: {type(value).__name__}")
    return value

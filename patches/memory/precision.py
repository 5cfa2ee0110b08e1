"""Bytes per value that the host keeps and computes models in, as its own functions choose them.

A file does not decide this alone. On a CPU the host never chooses bf16, and it drops fp8 where
two bytes per parameter fit. Text encoders take the type of their last norm for all weights.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import Any, Protocol

from ...engine.safetensors_file import ITEM_BITS, Header, TensorInfo
from ..base import comfyui

MODEL_TYPES = {"bf16": "bfloat16", "fp32": "float32", "fp8_e4m3fn": "float8_e4m3fn"}
"""Types of torch by the loader's ``dtype``; for ``auto`` the host chooses."""
TORCH_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
"""Types of torch by their names in a file."""
NORMS = ("model.norm.weight", "norm.weight")
"""Names of a text encoder's last norm."""
QUANTISED = "_quantization_metadata"
MARKS = ("scaled_fp8", ".comfy_quant", ".scale_weight", ".weight_scale")
"""Ends of the names of tensors that a file with quantised layers has."""
UNUSED = "lm_head."
"""Start of the names of tensors that a text encoder does not load."""


class Precision(Protocol):
    """Chooses types for two headers; bytes per value."""

    def diffusion(self, header: Header, dtype: str) -> tuple[int, int]:
        """Return the bytes of a weight in memory, and of a value that is computed."""
        ...

    def text_encoder(self, header: Header) -> int:
        """Return the bytes of a weight in memory."""
        ...


class HostPrecision:
    """The choice of the host that runs in this process, for its device and its options."""

    def diffusion(self, header: Header, dtype: str) -> tuple[int, int]:
        """Return the bytes of a weight in memory, and of a value that is computed.

        Args:
            header: of the model's file.
            dtype: the loader's input of that name.
        """
        management = comfyui.memory_management()
        zimage = sys.modules["comfy.supported_models"].ZImage
        supported = list(zimage.supported_inference_dtypes)
        if dtype in MODEL_TYPES:
            kept = _torch_type(MODEL_TYPES[dtype])
        else:
            kept = management.unet_dtype(
                model_params=parameters(header.tensors.values()),
                supported_dtypes=supported,
                weight_dtype=None if is_quantised(header) else _most_common(header),
            )
        cast = management.unet_manual_cast(kept, comfyui.device(), supported)
        return kept.itemsize, (kept if cast is None else cast).itemsize

    def text_encoder(self, header: Header) -> int:
        """Return the bytes of a weight in memory."""
        stored = next((header.tensors[name].dtype for name in NORMS if name in header.tensors), "")
        if stored in TORCH_TYPES:
            return ITEM_BITS[stored] // 8
        management = comfyui.memory_management()
        return management.text_encoder_dtype(management.text_encoder_device()).itemsize


def weight_bytes(header: Header, size: int) -> int:
    """Return the bytes of all weights of a file when each parameter takes ``size``.

    Quantised layers and integers stay as they are stored.
    """
    quantised = is_quantised(header)
    total = 0
    for name, info in header.tensors.items():
        if name.startswith(UNUSED):
            continue
        as_stored = info.dtype not in TORCH_TYPES or (quantised and ITEM_BITS[info.dtype] <= 8)
        total += info.end - info.start if as_stored else prod(info.shape) * size
    return total


def is_quantised(header: Header) -> bool:
    """Return whether a file says that its layers are quantised."""
    return QUANTISED in header.metadata or any(name.endswith(MARKS) for name in header.tensors)


def parameters(infos: Iterable[TensorInfo]) -> int:
    """Return the number of values in tensors."""
    return sum(prod(info.shape) for info in infos)


def _most_common(header: Header) -> Any:
    """Return the type that most values of a file have, as the host's ``weight_dtype``."""
    counts: Counter[str] = Counter()
    for info in header.tensors.values():
        counts[info.dtype] += prod(info.shape)
    (name, _), *_ = counts.most_common(1)
    return _torch_type(TORCH_TYPES[name]) if name in TORCH_TYPES else None


def _torch_type(name: str) -> Any:
    return getattr(sys.modules["torch"], name)

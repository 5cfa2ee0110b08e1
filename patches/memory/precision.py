"""Bytes per value in which the host stores models in memory and computes.

The host's own functions choose the types, since a file does not decide this alone. On a CPU, the
host never chooses bf16 by itself. It stores an fp8 model in a larger type if the device cannot
compute in fp8 and two bytes per parameter fit. All weights of a text encoder take the type of its
last norm.
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
"""Names of torch's types by the loader's ``dtype``. For ``auto``, the host chooses."""
TORCH_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
"""Names of torch's types by their names in a safetensors file."""
LAST_NORMS = ("model.norm.weight", "norm.weight")
"""Names of the last norm of a text encoder."""
QUANTISATION_KEY = "_quantization_metadata"
"""Key in the metadata of a file with quantised layers."""
QUANTISATION_SUFFIXES = ("scaled_fp8", ".comfy_quant", ".scale_weight", ".weight_scale")
"""Ends of the names of tensors that only a file with quantised layers has."""
UNUSED_PREFIX = "lm_head."
"""Start of the names of tensors that a text encoder does not load."""


class Precision(Protocol):
    """Bytes per value of the models in two files."""

    def diffusion(self, header: Header, dtype: str) -> tuple[int, int]:
        """Return the bytes of a weight in memory, and of a computed value.

        Args:
            header: of the diffusion model's file.
            dtype: the loader's input of that name.
        """
        ...

    def text_encoder(self, header: Header) -> int:
        """Return the bytes of a weight in memory.

        Args:
            header: of the text encoder's file.
        """
        ...


class HostPrecision:
    """The types that the host of this process chooses, for its device and its options."""

    def diffusion(self, header: Header, dtype: str) -> tuple[int, int]:
        """See :meth:`Precision.diffusion`."""
        management = comfyui.memory_management()
        zimage = sys.modules["comfy.supported_models"].ZImage
        supported = list(zimage.supported_inference_dtypes)
        if dtype in MODEL_TYPES:
            weight_type = _torch_type(MODEL_TYPES[dtype])
        else:
            weight_type = management.unet_dtype(
                model_params=count_parameters(header.tensors.values()),
                supported_dtypes=supported,
                weight_dtype=None if is_quantised(header) else _most_common(header),
            )
        compute_type = management.unet_manual_cast(weight_type, comfyui.device(), supported)
        if compute_type is None:  # the host computes in the type of the weights
            compute_type = weight_type
        return weight_type.itemsize, compute_type.itemsize

    def text_encoder(self, header: Header) -> int:
        """See :meth:`Precision.text_encoder`."""
        stored = [header.tensors[name].dtype for name in LAST_NORMS if name in header.tensors]
        if stored and stored[0] in TORCH_TYPES:
            return ITEM_BITS[stored[0]] // 8
        management = comfyui.memory_management()
        return management.text_encoder_dtype(management.text_encoder_device()).itemsize


def weight_bytes(header: Header, size: int) -> int:
    """Return the bytes that the weights of a file take in memory.

    Quantised layers and integers stay as they are stored. An output head is not loaded.

    Args:
        header: of the file.
        size: bytes of any other value.
    """
    quantised = is_quantised(header)
    total = 0
    for name, info in header.tensors.items():
        if name.startswith(UNUSED_PREFIX):
            continue
        is_quantised_layer = quantised and ITEM_BITS[info.dtype] <= 8
        if is_quantised_layer or info.dtype not in TORCH_TYPES:
            total += info.end - info.start
        else:
            total += prod(info.shape) * size
    return total


def is_quantised(header: Header) -> bool:
    """Return whether a file says that its layers are quantised."""
    return QUANTISATION_KEY in header.metadata or any(
        name.endswith(QUANTISATION_SUFFIXES) for name in header.tensors
    )


def count_parameters(infos: Iterable[TensorInfo]) -> int:
    """Return the number of values in tensors."""
    return sum(prod(info.shape) for info in infos)


def _most_common(header: Header) -> Any:
    """Return the type that most values of a file have, as the host's ``weight_dtype``."""
    counts: Counter[str] = Counter()
    for info in header.tensors.values():
        counts[info.dtype] += prod(info.shape)
    name = counts.most_common(1)[0][0]
    return _torch_type(TORCH_TYPES[name]) if name in TORCH_TYPES else None


def _torch_type(name: str) -> Any:
    return getattr(sys.modules["torch"], name)

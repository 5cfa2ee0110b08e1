"""A weight that the host would read otherwise than it is meant is refused."""

from __future__ import annotations

import json

import pytest
import torch

from zimage_comfyui.engine import quantisation
from zimage_comfyui.errors import ZImageError

FP8 = {"float8_e4m3fn": {"storage_t": torch.float8_e4m3fn}}  # ComfyUI 0.3.75
NEWER = {**FP8, "nvfp4": {"storage_t": torch.uint8}, "int8_tensorwise": {"storage_t": torch.int8}}


def weight(dtype: torch.dtype, *others: str) -> dict[str, torch.Tensor]:
    names = {f"a.{other}": torch.zeros(1, device="meta") for other in others}
    return {**names, "a.weight": torch.zeros(4, 4, device="meta").to(dtype)}


LEGACY = {**weight(torch.float8_e4m3fn, "scale_weight"), "scaled_fp8": torch.zeros(1)}


@pytest.mark.parametrize(
    ("state", "kind", "formats"),
    [
        (weight(torch.bfloat16), None, {}),
        (weight(torch.float8_e4m3fn), None, {}),
        (LEGACY, None, FP8),
        (weight(torch.float8_e4m3fn, "weight_scale"), "float8_e4m3fn", FP8),
        (weight(torch.uint8, "weight_scale", "comfy_quant"), "nvfp4", NEWER),
        (weight(torch.int8, "weight_scale"), "int8_tensorwise", NEWER),
    ],
)
def test_what_the_host_can_read(state, kind: str | None, formats) -> None:
    """Plain weights anywhere; declared formats that this host has."""
    quantisation.check("a.weight", state, {"a": kind} if kind else {}, formats, "f")


@pytest.mark.parametrize(
    ("state", "kind", "formats", "words"),
    [
        (weight(torch.int16), None, NEWER, "int16 .without format"),
        (weight(torch.uint16), None, NEWER, "uint16"),
        (weight(torch.int8, "weight_scale"), None, NEWER, "int8 .*weight_scale"),
        (weight(torch.uint8, "weight_scale", "comfy_quant"), "nvfp4", FP8, "uint8 .nvfp4"),
        (weight(torch.uint8, "weight_scale", "comfy_quant"), None, FP8, "uint8 .*comfy_quant"),
        (weight(torch.int8, "weight_scale"), "nvfp4", NEWER, "int8 .nvfp4"),
        (weight(torch.uint8), "nvfp4", NEWER, "uint8 .nvfp4"),
        (weight(torch.bfloat16), "float8_e4m3fn", FP8, "bfloat16 .float8"),
        (weight(torch.float8_e4m3fn, "weight_scale"), None, FP8, "float8.*weight_scale"),
        (LEGACY, None, {}, "float8.*scale_weight"),
    ],
)
def test_what_would_end_as_noise(state, kind: str | None, formats, words: str) -> None:
    """The message names the tensor, its type and what stands beside it."""
    with pytest.raises(ZImageError, match=rf"ZI-MODEL-KEYS.*a\.weight: {words}"):
        quantisation.check("a.weight", state, {"a": kind} if kind else {}, formats, "f")


def test_declared_formats() -> None:
    """From the metadata, and from notes that were read."""
    metadata = {"_quantization_metadata": json.dumps({"layers": {"a": {"format": "nvfp4"}}})}
    note = torch.tensor(list(b'{"format": "mxfp8"}'), dtype=torch.uint8)
    state = {"b.comfy_quant": note, "c.comfy_quant": note.to("meta")}
    assert quantisation.declared(state, metadata) == {"a": "nvfp4", "b": "mxfp8"}
    assert quantisation.declared({}, {}) == {}
    for text in ("x", "[]", "{}", '{"layers": [1]}', '{"layers": {"a": 1}}'):
        with pytest.raises(ValueError):  # noqa: PT011 - inspection gives it its code
            quantisation.declared({}, {"_quantization_metadata": text})


def test_packed_shapes() -> None:
    """Integers may hold two values per byte along a row; nothing else may differ."""
    packed = torch.empty(8, 4, dtype=torch.uint8, device="meta")
    assert quantisation.fits(packed, (8, 8))
    assert quantisation.fits(packed, (8, 4))
    assert not quantisation.fits(packed, (4, 8))
    assert not quantisation.fits(packed, (8, 6))
    assert not quantisation.fits(packed.to(torch.bfloat16), (8, 8))

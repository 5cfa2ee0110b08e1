"""Check a model file by its headers alone: its kind, its sizes, and the shape of every tensor.

No weights are read, so a check takes milliseconds for a file of any size.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ZImageError
from ..errors.bilingual import Bilingual
from . import architecture, embedding, host, layouts, quantisation
from .architecture import DIFFUSION, TEXT_ENCODER, VAE, coded, is_full
from .safetensors_file import JSON_OBJECT, short
from .weights import StateDict, Weights, open_weights

log = logging.getLogger(__name__)

_QUANTISATION = ("scaled_fp8", "_scale", "_scale_2", ".scale_weight", ".scale_input", "_quant")
_VAE_OPTIONAL = re.compile(r"quant_conv\.|^vae_(scale|shift)$")  # the host has defaults for them
_FREE = {"axes_dims", "axes_lens", "rope_theta", "time_scale"}  # cannot be derived from shapes
_DERIVED = {"ffn_dim_multiplier", "multiple_of"}  # many pairs give the same width
_LARGEST = 1e9  # largest number that a file may declare; infinity would give noise


@dataclass(frozen=True)
class ModelFile:
    """A checked model file, and the configuration with which the host builds the model.

    Attributes:
        weights: the checked file or folder.
        config: arguments of the host's class, see :mod:`.architecture`.
        declared: the metadata of the small models; empty for other files.
        expected: names and shapes of the host's class.
        full: whether the model has the official size, which the host's own loader builds.
    """

    weights: Weights
    config: dict[str, Any]
    declared: dict[str, Any]
    expected: host.Shapes
    full: bool

    @property
    def references(self) -> bool:
        """Whether the model was trained with reference pictures (Edit or Omni)."""
        return _references(self.config, self.declared)

    @property
    def name(self) -> str:
        """The name of the file in messages."""
        return self.weights.name


def diffusion(path: str | os.PathLike[str]) -> ModelFile:
    """Check a Z-Image diffusion model in ComfyUI's or the official layout.

    Raises:
        ZImageError: ``ZI-FILE-*``, ``ZI-MODEL-KIND`` or ``ZI-MODEL-KEYS``.
    """
    with coded(Path(path).name):
        weights = open_weights(path)
        outline = layouts.to_comfy(_outline(weights), weights.name)
        config = architecture.diffusion_config(shapes(outline), weights.name)
        declared = architecture.declared(weights.metadata, weights.name)
        _adopt(config, declared.get("config", {}), weights.name)
        full = is_full(DIFFUSION, config)
        if _references(config, declared):  # older loaders of the host build it without references
            full = full and "siglip_feat_dim" in config and host.reads_siglip()
        expected = host.diffusion_shapes(config)
        _compare(outline, expected, weights, full, layouts.MAY_BE_MISSING)
        return ModelFile(weights, config, declared, expected, full)


def text_encoder(path: str | os.PathLike[str], expected_width: int | None = None) -> ModelFile:
    """Check a Qwen3 text encoder.

    Args:
        path: a safetensors file, or a folder of shards.
        expected_width: the diffusion model's ``cap_feat_dim``.

    Raises:
        ZImageError: as :func:`diffusion`, or ``ZI-TEXT-WIDTH``.
    """
    with coded(Path(path).name):
        weights = open_weights(path)
        outline = layouts.text_to_comfy(_outline(weights))
        outline = embedding.expand(outline, host.VOCABULARY, weights.name)
        config = architecture.text_encoder_config(shapes(outline), weights.name)
        if expected_width is not None and config["hidden_size"] != expected_width:
            raise ZImageError("ZI-TEXT-WIDTH", found=config["hidden_size"], expected=expected_width)
        rows = outline[embedding.WEIGHT].shape[0]
        architecture.check_vocabulary(rows, weights.name)
        if rows != host.VOCABULARY:
            config["vocab_size"] = rows
        full = is_full(TEXT_ENCODER, config)
        expected = host.text_encoder_shapes(config)
        _compare(outline, expected, weights, full)
        return ModelFile(weights, config, {}, expected, full)


def vae(path: str | os.PathLike[str]) -> ModelFile:
    """Check a 16-channel autoencoder.

    Raises:
        ZImageError: as :func:`diffusion`.
    """
    with coded(Path(path).name):
        weights = open_weights(path)
        outline = layouts.vae_to_comfy(weights.outline())
        config = architecture.vae_config(shapes(outline), weights.name)
        expected = host.vae_shapes(config)
        optional = {name for name in expected if _VAE_OPTIONAL.search(name)}
        _compare(outline, expected, weights, False, optional)  # the host has no quantised VAE
        full = is_full(VAE, config.get("ddconfig", {}))
        return ModelFile(weights, config, {}, expected, full)


def shapes(state: StateDict) -> host.Shapes:
    """Return the shape of every tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _references(config: dict[str, Any], declared: dict[str, Any]) -> bool:
    return "siglip_feat_dim" in config or declared.get("variant") in architecture.REFERENCES


def _adopt(config: dict[str, Any], declared: Any, path: str) -> None:
    """Copy declared values that shapes do not determine to ``config``; compare all others."""
    if not isinstance(declared, dict):
        raise _wrong_tensors(path, f"config {declared!r:.60}", JSON_OBJECT)
    for key, value in declared.items():
        if key in _FREE:
            config[key] = value
        elif key in config and key not in _DERIVED and value != config[key]:
            raise _wrong_tensors(path, f"{key} = {value!r:.60}", f"{key} = {config[key]}")
    head = config["dim"] // config["n_heads"]
    axes = config["axes_dims"]
    even = isinstance(axes, list) and all(type(n) is int and n > 0 and n % 2 == 0 for n in axes)
    if not even or len(axes) != 3 or sum(axes) != head:
        raise _wrong_tensors(
            path,
            f"axes_dims {axes!r:.60}",
            Bilingual(f"3 个偶数，和为 {head}", f"3 even numbers, sum {head}"),
        )
    for key in ("rope_theta", "time_scale"):
        if type(config[key]) not in (int, float) or not 0 < config[key] <= _LARGEST:
            raise _wrong_tensors(path, f"{key} = {config[key]!r:.60}", f"0 < {key} <= {_LARGEST:g}")


def _outline(weights: Weights) -> StateDict:
    """Return shapes and types of all tensors, with the data of quantisation notes if needed."""
    reads_notes = host.reads_quantisation_notes()
    return weights.outline(read=quantisation.NOTE if reads_notes else None)


def check_shapes(outline: StateDict, expected: host.Shapes, weights: Weights) -> None:
    """Refuse a file with a tensor that is missing, of another shape, or quantised.

    Raises:
        ZImageError: ``ZI-MODEL-KEYS``.
    """
    _compare(outline, expected, weights, full=False)


def _compare(
    outline: StateDict,
    expected: host.Shapes,
    weights: Weights,
    full: bool,
    optional: Set[str] = frozenset(),
) -> None:
    """Compare an outline with the host's class.

    Args:
        outline: tensors on the meta device.
        expected: names and shapes of the host's class.
        weights: the file.
        full: whether the host's own loader builds the model; it alone supports quantised weights.
        optional: names that may be missing.
    """
    path = weights.name
    missing = sorted(expected.keys() - outline.keys() - optional)
    if missing:
        present, total = len(expected) - len(missing), len(expected)
        names = ", ".join(map(short, missing[:3]))
        found = Bilingual(
            f"{total} 个张量中只有 {present} 个，缺少 {names}",
            f"{present} of {total} tensors, without {names}",
        )
        raise _wrong_tensors(path, found, Bilingual(f"{total} 个张量", f"{total} tensors"))
    formats = host.quantisation_formats() if full else {}
    layers = quantisation.declared(outline, weights.metadata)
    for name, shape in expected.items():
        if name not in outline:
            continue
        quantisation.check(name, outline, layers, formats, path)
        if not quantisation.fits(outline[name], shape):
            raise _wrong_tensors(
                path, f"{short(name)} {list(outline[name].shape)}", str(list(shape))
            )
    unused = sorted(n for n in outline.keys() - expected.keys() if not n.endswith(_QUANTISATION))
    if unused:
        names = ", ".join(map(short, unused[:5]))
        log.warning("%s: %d tensors are not used: %s", path, len(unused), names)


def _wrong_tensors(path: str, found: Bilingual | str, expected: Bilingual | str) -> ZImageError:
    return ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)

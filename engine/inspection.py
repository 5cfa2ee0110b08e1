"""Judge a file by its headers alone: which model, how it is built, does every tensor fit.

No weights are read, so this takes milliseconds for a file of any size.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from ..errors import ZImageError
from . import architecture, embedding, host, layouts
from .weights import StateDict, Weights, open_weights

log = logging.getLogger(__name__)

_QUANTISATION = ("scaled_fp8", "_scale", "_scale_2", ".scale_weight", ".scale_input", "_quant")
_VAE_OPTIONAL = re.compile(r"quant_conv\.|^vae_(scale|shift)$")  # the host has values for them
_FREE = {"axes_dims", "axes_lens", "rope_theta", "time_scale"}  # shapes do not tell these
_DERIVED = {"ffn_dim_multiplier", "multiple_of"}  # many pairs mean the same width


@dataclass(frozen=True)
class Plan:
    """A file that fits, and how the host has to build it.

    Attributes:
        weights: the checked file or folder.
        config: arguments of the host's class, see :mod:`.architecture`.
        declared: the small family's own metadata, else empty.
        expected: names and shapes that the host's class has.
    """

    weights: Weights
    config: dict[str, Any]
    declared: dict[str, Any]
    expected: host.Shapes

    @property
    def name(self) -> str:
        """What messages call the file."""
        return self.weights.name


def diffusion(path: str | os.PathLike[str]) -> Plan:
    """Plan of a Z-Image diffusion model in ComfyUI's or the official layout.

    Raises:
        ZImageError: ``ZI-FILE-*``, ``ZI-MODEL-KIND`` or ``ZI-MODEL-KEYS``.
    """
    weights = open_weights(path)
    outline = layouts.to_comfy(weights.outline(), weights.name)
    config = architecture.diffusion_config(shapes(outline), weights.name)
    declared = architecture.declared(weights.metadata, weights.name)
    _adopt(config, declared.get("config", {}), weights.name)
    expected = host.diffusion_shapes(config)
    _check(outline, expected, weights.name, layouts.MAY_BE_MISSING)
    return Plan(weights, config, declared, expected)


def text_encoder(path: str | os.PathLike[str], expected_width: int | None = None) -> Plan:
    """Plan of a Qwen3 text encoder.

    Args:
        expected_width: the diffusion model's ``cap_feat_dim``.

    Raises:
        ZImageError: as :func:`diffusion`, or ``ZI-TEXT-WIDTH``.
    """
    weights = open_weights(path)
    outline = layouts.text_to_comfy(weights.outline())
    outline = embedding.expand(outline, host.VOCABULARY, weights.name)
    config = architecture.text_encoder_config(shapes(outline), weights.name)
    if expected_width is not None and config["hidden_size"] != expected_width:
        raise ZImageError("ZI-TEXT-WIDTH", found=config["hidden_size"], expected=expected_width)
    rows = outline[embedding.WEIGHT].shape[0]
    if rows != host.VOCABULARY:
        config["vocab_size"] = rows
    expected = host.text_encoder_shapes(config)
    _check(outline, expected, weights.name)
    return Plan(weights, config, {}, expected)


def vae(path: str | os.PathLike[str]) -> Plan:
    """Plan of a 16-channel autoencoder.

    Raises:
        ZImageError: as :func:`diffusion`.
    """
    weights = open_weights(path)
    outline = layouts.vae_to_comfy(weights.outline())
    config = architecture.vae_config(shapes(outline), weights.name)
    expected = host.vae_shapes(config)
    _check(outline, expected, weights.name, {n for n in expected if _VAE_OPTIONAL.search(n)})
    return Plan(weights, config, {}, expected)


def shapes(state: StateDict) -> host.Shapes:
    """Name to shape."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _adopt(config: dict[str, Any], declared: Any, path: str) -> None:
    """Take from a declared configuration what shapes cannot tell; the rest has to agree."""
    if not isinstance(declared, dict):
        raise _keys(path, f"config {declared!r:.60}", "JSON object")
    for key, value in declared.items():
        if key in _FREE:
            config[key] = value
        elif key in config and key not in _DERIVED and value != config[key]:
            raise _keys(path, f"{key} = {value!r:.60}", f"{key} = {config[key]}")
    head = config["dim"] // config["n_heads"]
    axes = config["axes_dims"]
    even = isinstance(axes, list) and all(type(n) is int and n > 0 and n % 2 == 0 for n in axes)
    if not even or len(axes) != 3 or sum(axes) != head:
        raise _keys(path, f"axes_dims {axes!r:.60}", f"3 even numbers, sum {head}")
    for key in ("rope_theta", "time_scale"):
        if type(config[key]) not in (int, float) or not config[key] > 0:
            raise _keys(path, f"{key} = {config[key]!r:.60}", "> 0")


def _check(
    outline: StateDict, expected: host.Shapes, path: str, optional: Set[str] = frozenset()
) -> None:
    """Compare with what the host builds; packed (integer) weights keep their own shapes."""
    missing = sorted(expected.keys() - outline.keys() - optional)
    if missing:
        count = f"{len(expected) - len(missing)} / {len(expected)} tensors"
        raise _keys(path, f"{count}, without {', '.join(missing[:3])}", f"{len(expected)} tensors")
    for name, shape in expected.items():
        tensor = outline.get(name)
        if tensor is None or not tensor.dtype.is_floating_point:
            continue
        if tuple(tensor.shape) != shape:
            raise _keys(path, f"{name} {list(tensor.shape)}", str(list(shape)))
    extra = sorted(n for n in outline.keys() - expected.keys() if not n.endswith(_QUANTISATION))
    if extra:
        log.warning("%s: %d tensors are not used: %s", path, len(extra), ", ".join(extra[:5]))


def _keys(path: str, found: str, expected: str) -> ZImageError:
    return ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)

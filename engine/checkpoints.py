"""Load a diffusion model, a text encoder or a VAE from a user's file, or say why it cannot be.

Every file is judged by its header first: format, kind of model, and each tensor's name and shape
against what the host builds. Only then are weights read. Full-size files go through the host's
own loaders, every other size of the same architecture is described to the host explicitly.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import ZImageError
from . import architecture, host, layouts
from .presets import AUTO, BASE, TURBO
from .weights import StateDict, open_weights

log = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype | None] = {
    "auto": None,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}
_OFFICIAL_VAE = {"ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2}
_OPTION = "zimage_variant"
_QUANTISATION = ("scaled_fp8", "_scale", "_scale_2", ".scale_weight", ".scale_input", "_quant")


def load_model(path: str | os.PathLike[str], variant: str = AUTO, dtype: str = "auto") -> Any:
    """A diffusion model as the host's ``ModelPatcher`` (MODEL), its variant travelling on it.

    Args:
        path: a safetensors file in ComfyUI's or the official layout, or a folder of shards.
        variant: ``turbo``, ``base``, or ``auto`` (metadata, scheduler file, then file name).
        dtype: a key of :data:`DTYPES`; ``auto`` is the host's choice for the device.

    Raises:
        ZImageError: ``ZI-FILE-*``, ``ZI-MODEL-KIND``, ``ZI-MODEL-KEYS`` or ``ZI-VALUE``.
    """
    target = _dtype(dtype)
    weights = open_weights(path)
    outline = layouts.to_comfy(weights.outline(), weights.name)
    shapes = _shapes(outline)
    config = architecture.diffusion_config(shapes, weights.name)
    declared = architecture.declared(weights.metadata, weights.name)
    _adopt(config, declared.get("config", {}), weights.name)
    expected = host.diffusion_shapes(config)
    _check(outline, expected, weights.name, layouts.MAY_BE_MISSING)
    state = layouts.to_comfy(weights.load(), weights.name)
    for name in layouts.MAY_BE_MISSING & (expected.keys() - state.keys()):
        state[name] = torch.ones(expected[name])  # never used; silences the host's warning
    model = None
    if config["dim"] == 3840:
        model = host.load_diffusion(state, target, weights.metadata)
    if model is None:
        model = host.build_diffusion(config, state, target)
    model.model_options[_OPTION] = _variant(variant, declared, Path(path))
    return model


def load_text_encoder(path: str | os.PathLike[str], expected_width: int | None = None) -> Any:
    """A Qwen3 text encoder as the host's CLIP, in the precision of the file.

    Args:
        expected_width: the diffusion model's ``cap_feat_dim``, compared before weights are read.

    Raises:
        ZImageError: as :func:`load_model`, or ``ZI-TEXT-WIDTH``.
    """
    weights = open_weights(path)
    outline = layouts.text_to_comfy(weights.outline())
    outline = _expand_embedding(outline, weights.name)
    config = architecture.text_encoder_config(_shapes(outline), weights.name)
    if expected_width is not None and config["hidden_size"] != expected_width:
        raise ZImageError("ZI-TEXT-WIDTH", found=config["hidden_size"], expected=expected_width)
    rows = outline["model.embed_tokens.weight"].shape[0]
    if rows != host.VOCABULARY:
        config["vocab_size"] = rows
    _check(outline, host.text_encoder_shapes(config), weights.name)
    state = _expand_embedding(layouts.text_to_comfy(weights.load()), weights.name)
    if config["hidden_size"] == 2560 and config["num_hidden_layers"] == 36:
        quantised = weights.metadata.get("_quantization_metadata")
        if quantised is not None:
            state["_quantization_metadata"] = quantised  # where the host's loader looks for it
        return host.load_text_encoder(state, _embeddings())
    return host.build_text_encoder(config, state, _embeddings())


def load_vae(path: str | os.PathLike[str], dtype: str = "auto") -> Any:
    """A 16-channel autoencoder as the host's VAE.

    Args:
        dtype: ``fp32`` computes in float32; everything else is the host's choice.

    Raises:
        ZImageError: as :func:`load_model`.
    """
    target = torch.float32 if _dtype(dtype) is torch.float32 else None
    weights = open_weights(path)
    outline = layouts.vae_to_comfy(weights.outline())
    config = architecture.vae_config(_shapes(outline), weights.name)
    quant = {name for name in host.vae_shapes(config) if "quant_conv." in name}
    _check(outline, host.vae_shapes(config), weights.name, quant)
    state = layouts.vae_to_comfy(weights.load())
    if all(config["ddconfig"][key] == value for key, value in _OFFICIAL_VAE.items()):
        return host.build_vae(state, None, target)
    if "quant_conv.weight" not in state:
        _add_identity_quant(state)
    return host.build_vae(state, config, target)


def variant_of(model: Any) -> str:
    """``turbo`` or ``base``: what the loader wrote on a MODEL; a stock-loaded one counts as turbo.

    The host's default shift for Z-Image is Turbo's as well.
    """
    return model.model_options.get(_OPTION, TURBO)


def _dtype(name: str) -> torch.dtype | None:
    if name not in DTYPES:
        raise ZImageError("ZI-VALUE", name="dtype", found=name, expected=" | ".join(DTYPES))
    return DTYPES[name]


def _variant(requested: str, declared: Mapping[str, Any], path: Path) -> str:
    """Asked for, else declared in the file, else the official scheduler's shift, else the name."""
    if requested in (TURBO, BASE):
        return requested
    if requested != AUTO:
        raise ZImageError("ZI-VALUE", name="variant", found=requested, expected="auto|turbo|base")
    if declared.get("variant") in (TURBO, BASE):
        return declared["variant"]
    scheduler = path.parent / "scheduler" / "scheduler_config.json"
    if path.is_dir() and scheduler.is_file():
        try:
            shift = json.loads(scheduler.read_text(encoding="utf-8")).get("shift")
            return TURBO if shift == 3.0 else BASE
        except (OSError, ValueError, AttributeError):
            log.warning("%s is not readable; the name decides the variant", scheduler)
    name = path.parent.name if path.is_dir() else path.name
    return TURBO if "turbo" in name.lower() else BASE


def _adopt(config: dict[str, Any], declared: Any, path: str) -> None:
    """Take from a declared configuration what shapes cannot tell; the rest has to agree."""
    free = {"axes_dims", "axes_lens", "rope_theta", "time_scale"}
    derived = {"ffn_dim_multiplier", "multiple_of"}  # many pairs mean the same width
    if not isinstance(declared, dict):
        raise ZImageError("ZI-MODEL-KEYS", path=path, found="config", expected="JSON object")
    for key, value in declared.items():
        if key in derived or key not in config:
            continue
        if key in free:
            config[key] = value
        elif value != config[key]:
            raise ZImageError(
                "ZI-MODEL-KEYS", path=path, found=f"{key} = {value!r:.60}", expected=config[key]
            )
    head = config["dim"] // config["n_heads"]
    axes = config["axes_dims"]
    if not isinstance(axes, list) or not all(type(n) is int for n in axes) or sum(axes) != head:
        raise ZImageError(
            "ZI-MODEL-KEYS", path=path, found=f"axes_dims {axes!r:.60}", expected=f"sum {head}"
        )


def _check(
    outline: StateDict, expected: host.Shapes, path: str, optional: Any = frozenset()
) -> None:
    """Compare names and shapes with what the host builds; packed (integer) weights keep theirs."""
    missing = sorted(expected.keys() - outline.keys() - set(optional))
    if missing:
        found = f"-{len(missing)}: {', '.join(missing[:3])}"
        raise ZImageError(
            "ZI-MODEL-KEYS", path=path, found=found, expected=f"{len(expected)} tensors"
        )
    for name, shape in expected.items():
        tensor = outline.get(name)
        if tensor is not None and tensor.dtype.is_floating_point and tensor.shape != shape:
            raise ZImageError(
                "ZI-MODEL-KEYS",
                path=path,
                found=f"{name} {list(tensor.shape)}",
                expected=str(list(shape)),
            )
    extra = sorted(
        name for name in outline.keys() - expected.keys() if not name.endswith(_QUANTISATION)
    )
    if extra:
        log.warning("%s: %d tensors are not used: %s", path, len(extra), ", ".join(extra[:5]))


def _expand_embedding(state: StateDict, path: str) -> StateDict:
    """Give a compactly stored embedding its full table: row 0 is every token not listed."""
    ids = state.pop("model.embed_tokens.ids", None)
    compact = state.get("model.embed_tokens.weight")
    if ids is None or compact is None:
        return state
    if ids.dtype != torch.int64 or ids.shape != (compact.shape[0] - 1,) or compact.ndim != 2:
        found = f"embed_tokens.ids {list(ids.shape)} {ids.dtype}"
        expected = f"[{compact.shape[0] - 1}] int64"
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)
    if ids.is_meta:
        state["model.embed_tokens.weight"] = compact.new_empty(host.VOCABULARY, compact.shape[1])
        return state
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < host.VOCABULARY:
        found = f"token ids {int(ids.min())} … {int(ids.max())}"
        expected = f"0 … {host.VOCABULARY - 1}"
        raise ZImageError("ZI-MODEL-KEYS", path=path, found=found, expected=expected)
    table = compact[0].repeat(host.VOCABULARY, 1)
    table[ids] = compact[1:]
    state["model.embed_tokens.weight"] = table
    return state


def _add_identity_quant(state: StateDict) -> None:
    """The host's configurable autoencoder has 1x1 convolutions that Flux's has not."""
    dtype = state["decoder.conv_in.weight"].dtype
    for name, channels in (("quant_conv", 32), ("post_quant_conv", 16)):
        state[f"{name}.weight"] = torch.eye(channels, dtype=dtype)[:, :, None, None]
        state[f"{name}.bias"] = torch.zeros(channels, dtype=dtype)


def _shapes(state: StateDict) -> host.Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _embeddings() -> list[str]:
    import folder_paths  # the host's; imported late because tests of this module need none

    return folder_paths.get_folder_paths("embeddings")

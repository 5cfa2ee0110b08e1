"""Sampling for packs in sandboxes: in the host, where the model is.

Devices that a pack names are its own and are replaced by the model's.
"""

from __future__ import annotations

import importlib
import uuid
from typing import Any

from ..protocol.messages import PREVIEW
from ..protocol.operations import KINDS, OwnSampling
from .dispatch import data, flat, moved

GUIDERS = {
    "CFGGuider": "comfy.samplers",
    "Guider_Basic": "comfy_extras.nodes_custom_sampler",
    "Guider_DualCFG": "comfy_extras.nodes_custom_sampler",
    "Guider_PerpNeg": "comfy_extras.nodes_perpneg",
}
SAMPLINGS = frozenset(
    {
        "EPS", "V_PREDICTION", "EDM", "CONST", "X0", "IMG_TO_IMG", "COSMOS_RFLOW",
        "ModelSamplingDiscrete", "ModelSamplingDiscreteEDM", "ModelSamplingContinuousEDM",
        "ModelSamplingContinuousV", "ModelSamplingDiscreteFlow", "StableCascadeSampling",
        "ModelSamplingFlux", "ModelSamplingCosmosRFlow",
    }
)  # fmt: skip
"""Classes of ``comfy.model_sampling`` that a pack may put together."""
MOST_VALUES = 64


def _shown(model: Any, callback: Any) -> tuple[Any, dict[str, Any]]:
    """The callback of a sampler: ComfyUI's with previews, one of the pack's, or none."""
    seen: dict[str, Any] = {}
    if isinstance(callback, dict) and set(callback) == {PREVIEW}:
        import latent_preview

        return latent_preview.prepare_callback(model, int(callback[PREVIEW]), seen), seen
    return data(callback, functions=True), seen


def common(*args: Any, **kwargs: Any) -> Any:
    """``nodes.common_ksampler``."""
    nodes: Any = importlib.import_module("nodes")
    return nodes.common_ksampler(*data(args, functions=True), **kwargs)


def sample(
    model: Any, noise: Any, steps: Any, cfg: Any, sampler_name: Any, scheduler: Any, positive: Any,
    negative: Any, latent_image: Any, callback: Any = None, **more: Any,
) -> Any:  # fmt: skip
    """``comfy.sample.sample``: samples, and the last x0 if ComfyUI's own callback saw it."""
    import comfy.sample

    shown, seen = _shown(model, callback)
    found = comfy.sample.sample(
        model, noise, int(steps), float(cfg), sampler_name, scheduler, positive, negative,
        latent_image, callback=shown, **more,
    )  # fmt: skip
    return found, seen.get("x0")


def sample_custom(
    model: Any, noise: Any, cfg: Any, sampler: Any, sigmas: Any, positive: Any, negative: Any,
    latent_image: Any, callback: Any = None, **more: Any,
) -> Any:  # fmt: skip
    """``comfy.sample.sample_custom``, likewise."""
    import comfy.sample

    shown, seen = _shown(model, callback)
    found = comfy.sample.sample_custom(
        model, noise, float(cfg), sampler, sigmas, positive, negative, latent_image,
        callback=shown, **more,
    )  # fmt: skip
    return found, seen.get("x0")


def samplers_sample(
    model: Any, noise: Any, positive: Any, negative: Any, cfg: Any, device: Any, sampler: Any,
    sigmas: Any, model_options: Any = None, latent_image: Any = None, denoise_mask: Any = None,
    callback: Any = None, disable_pbar: Any = False, seed: Any = None,
) -> Any:  # fmt: skip
    """``comfy.samplers.sample``, likewise."""
    import comfy.samplers

    shown, seen = _shown(model, callback)
    options = model.model_options if model_options is None else data(dict(model_options), True)
    found = comfy.samplers.sample(
        model, noise, positive, negative, float(cfg), model.load_device, sampler, sigmas, options,
        latent_image, denoise_mask, shown, bool(disable_pbar), seed,
    )  # fmt: skip
    return moved(found, "cpu"), seen.get("x0")


def calculate_sigmas(model_sampling: Any, scheduler_name: Any, steps: Any) -> Any:
    """``comfy.samplers.calculate_sigmas``: noise levels [steps + 1]."""
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(model_sampling, str(scheduler_name), int(steps))


def sampler_object(name: Any) -> Any:
    """``comfy.samplers.sampler_object``: one of ComfyUI's samplers."""
    import comfy.samplers

    if name not in comfy.samplers.SAMPLER_NAMES:
        raise ValueError(f"no sampler {str(name)[:100]!r}")
    return comfy.samplers.sampler_object(name)


def ksampler(sampler_name: Any, extra_options: Any = None, inpaint_options: Any = None) -> Any:
    """``comfy.samplers.ksampler``: one of ComfyUI's samplers, with options."""
    import comfy.samplers

    known = {*comfy.samplers.KSAMPLER_NAMES, *comfy.samplers.SAMPLER_NAMES}
    if sampler_name not in known:
        raise ValueError(f"no sampler {str(sampler_name)[:100]!r}")
    extra, inpaint = data(dict(extra_options or {}), True), data(dict(inpaint_options or {}))
    return comfy.samplers.ksampler(sampler_name, extra, inpaint)


def sampler(function: Any, extra_options: Any, inpaint_options: Any) -> Any:
    """A sampler as the worker has it: by the name of its function, or with one of the pack's."""
    import comfy.k_diffusion.sampling as known
    import comfy.samplers

    from .object_table import Callback

    extra, inpaint = data(dict(extra_options), True), data(dict(inpaint_options))
    if not isinstance(function, Callback):
        if not str(function).startswith("sample_") or not hasattr(known, str(function)):
            raise ValueError(f"no sampler {str(function)[:100]!r}")
        function = getattr(known, function)
    return comfy.samplers.KSAMPLER(function, extra, inpaint)


def guider(name: Any, model: Any, conds: Any, values: Any, options: Any = None) -> Any:
    """A guider as the worker has it: its class by name, its conditions and numbers."""
    if name not in GUIDERS:
        raise PermissionError(f"no guider {str(name)[:100]!r}")
    found = getattr(importlib.import_module(GUIDERS[name]), name)(model)
    found.original_conds = {
        str(key): [{**data(one), "uuid": uuid.uuid4()} for one in many]
        for key, many in conds.items()
    }
    for key in ("cfg", "cfg1", "cfg2", "neg_scale", "nested"):
        if key in values:
            setattr(found, key, bool(values[key]) if key == "nested" else float(values[key]))
    if options is not None:
        found.model_options = data(dict(options), functions=True)
    return found


def guider_sample(
    guider: Any, noise: Any, latent_image: Any, sampler: Any, sigmas: Any, denoise_mask: Any = None,
    callback: Any = None, disable_pbar: Any = False, seed: Any = None,
) -> Any:  # fmt: skip
    """``CFGGuider.sample``: samples, and the last x0 likewise."""
    shown, seen = _shown(guider.model_patcher, callback)
    found = guider.sample(
        noise, latent_image, sampler, sigmas, denoise_mask, shown, bool(disable_pbar), seed
    )
    return found, seen.get("x0")


def noise(name: Any, seed: Any) -> Any:
    """ComfyUI's two sources of noise."""
    import comfy_extras.nodes_custom_sampler as known

    if name == "Noise_EmptyNoise":
        return known.Noise_EmptyNoise()
    if name != "Noise_RandomNoise":
        raise PermissionError(f"no noise {str(name)[:100]!r}")
    return known.Noise_RandomNoise(int(seed))


def model_sampling(names: Any, values: Any) -> Any:
    """Noise levels of a model: classes of ComfyUI's put together, as packs do to shift them."""
    import comfy.model_sampling as known
    import torch

    if not isinstance(names, list) or not 0 < len(names) < 4 or not set(names) <= SAMPLINGS:
        raise PermissionError("no such model_sampling")
    found = type("ModelSamplingAdvanced", tuple(getattr(known, one) for one in names), {})()
    if len(values) > MOST_VALUES:
        raise ValueError("too many values")
    for name, value in values.items():
        if name.startswith("_") or callable(getattr(found, name, None)):
            raise PermissionError(f"{name[:100]!r} cannot be set")
        if isinstance(value, torch.Tensor):
            found.register_buffer(name, value)
        elif _plain(value):
            setattr(found, name, value)
    return found


def _plain(value: Any) -> bool:
    """Numbers, text and tensors, also in lists, tuples and dictionaries."""
    return next(flat(value), None) is None


def own_model_sampling(names: Any, functions: Any, values: Any) -> Any:
    """Noise levels of a model by functions of a pack's own, which stay in its process."""
    import comfy.model_sampling as known
    import torch

    from .object_table import Callback

    offered = KINDS["MODEL_SAMPLING"]
    if not isinstance(names, list) or len(names) > 3 or not set(names) <= SAMPLINGS:
        raise PermissionError("no such model_sampling")
    if not set(functions) <= offered.methods or not set(values) <= offered.reads:
        raise PermissionError("a model_sampling has nothing of that name")
    if not all(isinstance(one, Callback) for one in functions.values()):
        raise TypeError("functions of a pack")
    if not all(_plain(value) for value in values.values()):
        raise TypeError("plain values")
    bases = [OwnSampling, *(getattr(known, one) for one in names)]
    if not any(issubclass(one, torch.nn.Module) for one in bases):
        bases.append(torch.nn.Module)
    levels = {"sigmas", "log_sigmas"}
    buffers = {k: v for k, v in values.items() if k in levels and isinstance(v, torch.Tensor)}
    parts = {k: _asked(function) for k, function in functions.items()}
    parts |= {k: v for k, v in values.items() if k not in buffers}
    kind: Any = type("ModelSamplingAdvanced", tuple(bases), parts)
    found = kind.__new__(kind)  # what its base would work out stands in the values
    torch.nn.Module.__init__(found)
    for name, value in buffers.items():
        found.register_buffer(name, value)
    return found


def _asked(function: Any) -> Any:
    def method(_self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return method

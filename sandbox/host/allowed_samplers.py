"""Sampling for packs, in the host, where the model is.

A device in a request is one of the worker, so it is replaced by that of the model.
"""

from __future__ import annotations

import importlib
import uuid
from typing import Any

from ..protocol.messages import PREVIEW
from .value_tree import to_device
from .worker_objects import Callback, require_data

GUIDERS = {
    "CFGGuider": "comfy.samplers",
    "Guider_Basic": "comfy_extras.nodes_custom_sampler",
    "Guider_DualCFG": "comfy_extras.nodes_custom_sampler",
    "Guider_PerpNeg": "comfy_extras.nodes_perpneg",
}


def _sampler_callback(model: Any, callback: Any) -> tuple[Any, dict[str, Any]]:
    """Return the callback for a sampler, and a dictionary in which ComfyUI's stores the last x0.

    Args:
        model: to preview.
        callback: a function of the pack, None, or a marker for ComfyUI's own callback.
    """
    stored: dict[str, Any] = {}
    if isinstance(callback, dict) and set(callback) == {PREVIEW}:
        import latent_preview

        return latent_preview.prepare_callback(model, int(callback[PREVIEW]), stored), stored
    return require_data(callback, functions=True), stored


def common(*args: Any, **kwargs: Any) -> Any:
    """Run ``nodes.common_ksampler``."""
    nodes: Any = importlib.import_module("nodes")
    return nodes.common_ksampler(*require_data(args, functions=True), **kwargs)


def sample(
    model: Any,
    noise: Any,
    steps: Any,
    cfg: Any,
    sampler_name: Any,
    scheduler: Any,
    positive: Any,
    negative: Any,
    latent_image: Any,
    callback: Any = None,
    **more: Any,
) -> Any:
    """Run ``comfy.sample.sample``; return samples, and the last x0 from ComfyUI's callback."""
    import comfy.sample

    on_step, stored = _sampler_callback(model, callback)
    samples = comfy.sample.sample(
        model,
        noise,
        int(steps),
        float(cfg),
        sampler_name,
        scheduler,
        positive,
        negative,
        latent_image,
        callback=on_step,
        **more,
    )
    return samples, stored.get("x0")


def sample_custom(
    model: Any,
    noise: Any,
    cfg: Any,
    sampler: Any,
    sigmas: Any,
    positive: Any,
    negative: Any,
    latent_image: Any,
    callback: Any = None,
    **more: Any,
) -> Any:
    """Run ``comfy.sample.sample_custom``; see :func:`sample`."""
    import comfy.sample

    on_step, stored = _sampler_callback(model, callback)
    samples = comfy.sample.sample_custom(
        model,
        noise,
        float(cfg),
        sampler,
        sigmas,
        positive,
        negative,
        latent_image,
        callback=on_step,
        **more,
    )
    return samples, stored.get("x0")


def samplers_sample(
    model: Any,
    noise: Any,
    positive: Any,
    negative: Any,
    cfg: Any,
    device: Any,
    sampler: Any,
    sigmas: Any,
    model_options: Any = None,
    latent_image: Any = None,
    denoise_mask: Any = None,
    callback: Any = None,
    disable_pbar: Any = False,
    seed: Any = None,
) -> Any:
    """Run ``comfy.samplers.sample``; see :func:`sample`."""
    import comfy.samplers

    on_step, stored = _sampler_callback(model, callback)
    options = (
        model.model_options if model_options is None else require_data(dict(model_options), True)
    )
    samples = comfy.samplers.sample(
        model,
        noise,
        positive,
        negative,
        float(cfg),
        model.load_device,
        sampler,
        sigmas,
        options,
        latent_image,
        denoise_mask,
        on_step,
        bool(disable_pbar),
        seed,
    )
    return to_device(samples, "cpu"), stored.get("x0")


def calculate_sigmas(model_sampling: Any, scheduler_name: Any, steps: Any) -> Any:
    """Run ``comfy.samplers.calculate_sigmas``; return noise levels [steps + 1]."""
    import comfy.samplers

    return comfy.samplers.calculate_sigmas(model_sampling, str(scheduler_name), int(steps))


def sampler_object(name: Any) -> Any:
    """Return one of ComfyUI's samplers (``comfy.samplers.sampler_object``).

    Raises:
        ValueError: there is none of that name.
    """
    import comfy.samplers

    if name not in comfy.samplers.SAMPLER_NAMES:
        raise ValueError(f"no sampler {str(name)[:100]!r}")
    return comfy.samplers.sampler_object(name)


def ksampler(sampler_name: Any, extra_options: Any = None, inpaint_options: Any = None) -> Any:
    """Return one of ComfyUI's samplers with options (``comfy.samplers.ksampler``).

    Raises:
        ValueError: there is none of that name.
    """
    import comfy.samplers

    known = {*comfy.samplers.KSAMPLER_NAMES, *comfy.samplers.SAMPLER_NAMES}
    if sampler_name not in known:
        raise ValueError(f"no sampler {str(sampler_name)[:100]!r}")
    extra = require_data(dict(extra_options or {}), functions=True)
    inpaint = require_data(dict(inpaint_options or {}))
    return comfy.samplers.ksampler(sampler_name, extra, inpaint)


def sampler(function: Any, extra_options: Any, inpaint_options: Any) -> Any:
    """Return a copy of a worker's sampler.

    Args:
        function: its name in ``comfy.k_diffusion.sampling``, or a function of the pack.
        extra_options: of the sampler.
        inpaint_options: of the sampler.

    Raises:
        ValueError: there is no function of that name.
    """
    import comfy.k_diffusion.sampling as known
    import comfy.samplers

    extra = require_data(dict(extra_options), functions=True)
    inpaint = require_data(dict(inpaint_options))
    if not isinstance(function, Callback):
        if not str(function).startswith("sample_") or not hasattr(known, str(function)):
            raise ValueError(f"no sampler {str(function)[:100]!r}")
        function = getattr(known, function)
    return comfy.samplers.KSAMPLER(function, extra, inpaint)


def guider(name: Any, model: Any, conds: Any, values: Any, options: Any = None) -> Any:
    """Return a copy of a worker's guider.

    Args:
        name: of its class.
        model: to guide.
        conds: conditions by name.
        values: numbers, such as ``cfg``.
        options: in place of the model's ``model_options``.

    Raises:
        PermissionError: the class is not one of ComfyUI's.
    """
    if name not in GUIDERS:
        raise PermissionError(f"no guider {str(name)[:100]!r}")
    copy = getattr(importlib.import_module(GUIDERS[name]), name)(model)
    copy.original_conds = {
        str(key): [{**require_data(cond), "uuid": uuid.uuid4()} for cond in conditions]
        for key, conditions in conds.items()
    }
    for key in ("cfg", "cfg1", "cfg2", "neg_scale", "nested"):
        if key in values:
            setattr(copy, key, bool(values[key]) if key == "nested" else float(values[key]))
    if options is not None:
        copy.model_options = require_data(dict(options), functions=True)
    return copy


def guider_sample(
    guider: Any,
    noise: Any,
    latent_image: Any,
    sampler: Any,
    sigmas: Any,
    denoise_mask: Any = None,
    callback: Any = None,
    disable_pbar: Any = False,
    seed: Any = None,
) -> Any:
    """Run ``CFGGuider.sample``; see :func:`sample`."""
    on_step, stored = _sampler_callback(guider.model_patcher, callback)
    samples = guider.sample(
        noise, latent_image, sampler, sigmas, denoise_mask, on_step, bool(disable_pbar), seed
    )
    return samples, stored.get("x0")


def noise(name: Any, seed: Any) -> Any:
    """Return one of ComfyUI's two sources of noise.

    Raises:
        PermissionError: there is none of that name.
    """
    import comfy_extras.nodes_custom_sampler as known

    if name == "Noise_EmptyNoise":
        return known.Noise_EmptyNoise()
    if name != "Noise_RandomNoise":
        raise PermissionError(f"no noise {str(name)[:100]!r}")
    return known.Noise_RandomNoise(int(seed))

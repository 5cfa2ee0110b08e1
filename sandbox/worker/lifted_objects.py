"""Objects that a pack made and that the host's nodes must understand, as objects of the host.

A sampler, guider, noise or model sampling that was made in a worker is "lifted": the host makes a
counterpart, and the worker sends a reference to that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..protocol.operations import OPERATIONS
from .host_client import HostClient
from .remote_objects import HostObject, Options


def lifted(client: HostClient, value: Any) -> HostObject | None:
    """Return the host's counterpart of an object, or None if it is of no such type."""
    names = [f"{cls.__module__.rpartition('/')[2]}.{cls.__name__}" for cls in type(value).__mro__]
    lifts = [_LIFTS[name] for name in names if name in _LIFTS]
    if not lifts and "torch.nn.modules.module.Module" in names and _is_own_sampling(value):
        lifts = [_model_sampling]
    for lift in lifts:
        counterpart = client.ask(None, *lift(value))
        if isinstance(counterpart, HostObject):
            value.__dict__["_zimage_lifted"] = counterpart  # alive until the reference is sent
            return counterpart
    return None


def _is_own_sampling(value: Any) -> bool:
    """Return whether a module of the pack's own class has all that a model sampling needs."""
    import torch

    methods = ("sigma", "timestep", "percent_to_sigma", "calculate_denoised")
    return isinstance(value, torch.nn.Module) and all(
        callable(getattr(type(value), name, None)) for name in methods
    )


def _sampler(value: Any) -> tuple[str, Any]:
    function = value.sampler_function
    is_comfyuis = getattr(function, "__module__", "") == "comfy.k_diffusion.sampling"
    named = function.__name__ if is_comfyuis else function
    return "sampler", [[named, dict(value.extra_options), dict(value.inpaint_options)], {}]


def _guider(value: Any) -> tuple[str, Any]:
    name = type(value).__name__
    values = {k: v for k, v in vars(value).items() if isinstance(v, bool | int | float)}
    options = value.model_options
    own_options = None if isinstance(options, Options) else dict(options)
    conditions = {  # without ids, which are valid in the process that made them only
        kind: [{k: v for k, v in entry.items() if k != "uuid"} for entry in entries]
        for kind, entries in value.original_conds.items()
    }
    return "guider", [[name, value.model_patcher, conditions, values, own_options], {}]


def _noise(value: Any) -> tuple[str, Any]:
    return "noise", [[type(value).__name__, value.seed], {}]


def _model_sampling(value: Any) -> tuple[str, Any]:
    classes = type(value).__mro__
    bases = [cls for cls in classes if cls.__module__ == "comfy.model_sampling"]
    names = [
        cls.__name__
        for cls in bases
        if not any(issubclass(other, cls) for other in bases if other is not cls)
    ]
    libraries = {"builtins", "torch.nn.modules.module"}
    own = [cls for cls in classes if cls not in bases and cls.__module__ not in libraries]
    if any(callable(member) for cls in own for member in vars(cls).values()):
        return "own_model_sampling", [[names, *_methods_and_values(value)], {}]
    values = {k: v for k, v in vars(value).items() if not k.startswith("_") and k != "training"}
    values |= dict(value._buffers)
    return "model_sampling", [[names, values], {}]


def _methods_and_values(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the methods, which run here, and the readable attributes."""
    kind = OPERATIONS["MODEL_SAMPLING"]
    methods = {k: getattr(value, k) for k in sorted(kind.methods) if hasattr(value, k)}
    return methods, {k: getattr(value, k) for k in sorted(kind.reads) if hasattr(value, k)}


_LIFTS: dict[str, Callable[[Any], tuple[str, Any]]] = {
    "comfy.samplers.KSAMPLER": _sampler,
    "comfy.samplers.CFGGuider": _guider,
    "nodes_custom_sampler.Noise_EmptyNoise": _noise,
    "nodes_custom_sampler.Noise_RandomNoise": _noise,
    "comfy_extras.nodes_custom_sampler.Noise_EmptyNoise": _noise,
    "comfy_extras.nodes_custom_sampler.Noise_RandomNoise": _noise,
    "comfy.model_sampling.ModelSamplingDiscrete": _model_sampling,
    "comfy.model_sampling.ModelSamplingContinuousEDM": _model_sampling,
    "comfy.model_sampling.ModelSamplingDiscreteFlow": _model_sampling,
    "comfy.model_sampling.ModelSamplingFlux": _model_sampling,
}

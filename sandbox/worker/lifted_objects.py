"""What was made in a worker and means something to the host's nodes, as an object of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..protocol.operations import KINDS
from .remote_objects import HostObject, Options

if TYPE_CHECKING:
    from .worker import Worker


def lifted(worker: Worker, value: Any) -> HostObject | None:
    """The host's counterpart of a sampler, guider, noise or schedule that was made here."""
    names = [f"{one.__module__.rpartition('/')[2]}.{one.__name__}" for one in type(value).__mro__]
    lifts = [_LIFTS[one] for one in names if one in _LIFTS]
    if not lifts and "torch.nn.modules.module.Module" in names and _own_sampling(value):
        lifts = [_model_sampling]
    for lift in lifts:
        found = worker.ask(None, *lift(value))
        if isinstance(found, HostObject):
            value.__dict__["_zimage_lifted"] = found  # alive until the host has heard of it
            return found
    return None


def _own_sampling(value: Any) -> bool:
    """Noise levels of a class of the pack's own: no class of ComfyUI's, but all that one needs."""
    import torch

    wanted = ("sigma", "timestep", "percent_to_sigma", "calculate_denoised")
    return isinstance(value, torch.nn.Module) and all(
        callable(getattr(type(value), name, None)) for name in wanted
    )


def _sampler(value: Any) -> tuple[str, Any]:
    function = value.sampler_function
    known = getattr(function, "__module__", "") == "comfy.k_diffusion.sampling"
    said = function.__name__ if known else function
    return "sampler", [[said, dict(value.extra_options), dict(value.inpaint_options)], {}]


def _guider(value: Any) -> tuple[str, Any]:
    name = type(value).__name__
    values = {k: v for k, v in vars(value).items() if isinstance(v, bool | int | float)}
    options = value.model_options
    said = None if isinstance(options, Options) else dict(options)
    conds = {  # without numbers that only the process that has made them knows
        name: [{k: v for k, v in one.items() if k != "uuid"} for one in conds]
        for name, conds in value.original_conds.items()
    }
    return "guider", [[name, value.model_patcher, conds, values, said], {}]


def _noise(value: Any) -> tuple[str, Any]:
    return "noise", [[type(value).__name__, value.seed], {}]


def _model_sampling(value: Any) -> tuple[str, Any]:
    bases = [one for one in type(value).__mro__ if one.__module__ == "comfy.model_sampling"]
    names = [one.__name__ for one in bases if not any(
        issubclass(other, one) for other in bases if other is not one
    )]  # fmt: skip
    known = {"builtins", "torch.nn.modules.module"}
    packs = [one for one in type(value).__mro__ if one not in bases and one.__module__ not in known]
    if any(callable(part) for one in packs for part in vars(one).values()):
        return "own_model_sampling", [[names, *_functions_of(value)], {}]
    values = {k: v for k, v in vars(value).items() if not k.startswith("_") and k != "training"}
    values |= dict(value._buffers)
    return "model_sampling", [[names, values], {}]


def _functions_of(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Methods, which stay here, and what can be read of it."""
    offered = KINDS["MODEL_SAMPLING"]
    functions = {k: getattr(value, k) for k in sorted(offered.methods) if hasattr(value, k)}
    return functions, {k: getattr(value, k) for k in sorted(offered.reads) if hasattr(value, k)}


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

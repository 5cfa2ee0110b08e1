"""``model_sampling`` objects (noise levels of a model) that packs define."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..protocol.operations import OPERATIONS, OwnModelSampling
from .value_tree import is_data
from .worker_objects import Callback

SAMPLINGS = frozenset(
    {
        "EPS",
        "V_PREDICTION",
        "EDM",
        "CONST",
        "X0",
        "IMG_TO_IMG",
        "COSMOS_RFLOW",
        "ModelSamplingDiscrete",
        "ModelSamplingDiscreteEDM",
        "ModelSamplingContinuousEDM",
        "ModelSamplingContinuousV",
        "ModelSamplingDiscreteFlow",
        "StableCascadeSampling",
        "ModelSamplingFlux",
        "ModelSamplingCosmosRFlow",
    }
)
"""Classes of ``comfy.model_sampling`` that a pack may combine."""
MAX_BASES = 3
MAX_VALUES = 64
BUFFERS = frozenset({"sigmas", "log_sigmas"})
"""Attributes that ComfyUI's own classes register as buffers."""


def model_sampling(names: Any, values: Any) -> Any:
    """Return an object of combined classes of ComfyUI, as packs use to shift noise levels.

    Args:
        names: of the classes.
        values: attributes to set.

    Raises:
        PermissionError: a class or an attribute is not allowed.
        ValueError: there are too many values.
    """
    import comfy.model_sampling as known
    import torch

    if not _are_sampling_names(names) or not names:
        raise PermissionError("no such model_sampling")
    bases = tuple(getattr(known, name) for name in names)
    sampling = type("ModelSamplingAdvanced", bases, {})()
    if len(values) > MAX_VALUES:
        raise ValueError("too many values")
    for name, value in values.items():
        if name.startswith("_") or callable(getattr(sampling, name, None)):
            raise PermissionError(f"{name[:100]!r} cannot be set")
        if isinstance(value, torch.Tensor):
            sampling.register_buffer(name, value)
        elif is_data(value):
            setattr(sampling, name, value)
    return sampling


def own_model_sampling(names: Any, functions: Any, values: Any) -> Any:
    """Return an object whose methods are functions of a pack.

    Args:
        names: of base classes.
        functions: methods by name, which stay in the worker.
        values: attributes by name.

    Raises:
        PermissionError: a class or a name is not allowed.
        TypeError: a method or an attribute has the wrong type.
    """
    import torch

    _require_parts(names, functions, values)
    buffers = {
        name: value
        for name, value in values.items()
        if name in BUFFERS and isinstance(value, torch.Tensor)
    }
    attributes = {name: _method(function) for name, function in functions.items()}
    attributes |= {name: value for name, value in values.items() if name not in buffers}
    kind: Any = type("ModelSamplingAdvanced", _bases(names), attributes)
    sampling = kind.__new__(kind)  # the constructor would compute what the values already contain
    torch.nn.Module.__init__(sampling)
    for name, value in buffers.items():
        sampling.register_buffer(name, value)
    return sampling


def _are_sampling_names(names: Any) -> bool:
    return isinstance(names, list) and len(names) <= MAX_BASES and set(names) <= SAMPLINGS


def _require_parts(names: Any, functions: Any, values: Any) -> None:
    """Check names and types, see :func:`own_model_sampling`."""
    allowed = OPERATIONS["MODEL_SAMPLING"]
    if not _are_sampling_names(names):
        raise PermissionError("no such model_sampling")
    if not set(functions) <= allowed.methods or not set(values) <= allowed.reads:
        raise PermissionError("a model_sampling has nothing of that name")
    if not all(isinstance(function, Callback) for function in functions.values()):
        raise TypeError("functions of a pack")
    if not all(is_data(value) for value in values.values()):
        raise TypeError("plain values")


def _bases(names: list[str]) -> tuple[type, ...]:
    import comfy.model_sampling as known
    import torch

    bases: list[type] = [OwnModelSampling, *(getattr(known, name) for name in names)]
    if not any(issubclass(base, torch.nn.Module) for base in bases):
        bases.append(torch.nn.Module)
    return tuple(bases)


def _method(function: Any) -> Callable[..., Any]:
    """Return a method that calls a function of the pack without ``self``."""

    def method(_self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return method

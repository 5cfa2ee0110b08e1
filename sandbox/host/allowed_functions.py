"""The closed list of ComfyUI's functions that the host runs for packs: samplers, loaders, nodes.

Only safetensors files inside the folders of models are loaded, and nothing is unpickled.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from typing import Any, Protocol

from ..protocol.core_nodes import ALL, LOADERS
from ..protocol.messages import FILE
from . import allowed_model_sampling as samplings
from . import allowed_samplers as samplers
from .created_objects import created
from .object_table import HostObjects
from .value_tree import is_data, to_device
from .worker_objects import require_data

SUFFIXES = (".safetensors", ".sft")
LOADER_OPTIONS = frozenset(
    {"dtype", "weight_dtype", "load_device", "offload_device", "fp8_optimizations"}
)
"""Keys of a loader's ``model_options`` that are passed on."""


class PackSession(Protocol):
    """The session with a pack's worker."""

    @property
    def name(self) -> str:
        """Name of the pack."""
        ...

    @property
    def quota(self) -> int:
        """Bytes that the host stores for the worker."""
        ...

    @property
    def host_objects(self) -> HostObjects:
        """The objects of the host that the worker refers to."""
        ...


def call_function(session: PackSession, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call one of :data:`FUNCTIONS`.

    Raises:
        PermissionError: there is no such function, or it refuses these arguments.
    """
    function = FUNCTIONS.get(name)
    if function is None:
        raise PermissionError(f"there is no function {name[:100]!r}")
    value = function(*args, **kwargs)
    created.add(session, value, (args, kwargs, session.host_objects.all()))
    return value


def model_file(path: Any, kinds: tuple[str, ...] = ()) -> str:
    """Return the absolute path of a model's file that may be loaded for a pack.

    Args:
        path: of the file.
        kinds: kinds of folder that may contain it; all if empty.

    Raises:
        PermissionError: it lies elsewhere, or is no safetensors file.
    """
    import folder_paths

    path = os.path.abspath(os.fspath(path))
    if not path.lower().endswith(SUFFIXES):
        raise PermissionError(f"only safetensors files are loaded for packs: {path[-200:]}")
    for kind, (folders, _) in folder_paths.folder_names_and_paths.items():
        if kind in {"custom_nodes", "configs"} or (kinds and kind not in kinds):
            continue
        for folder in folders:
            if _inside(path, os.path.abspath(folder)) and os.path.isfile(path):
                _require_link_inside(path, folder)
                return path
    raise PermissionError(f"no file of a model: {path[-200:]}")


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _require_link_inside(path: str, folder: str) -> None:
    """Check links in folders that packs can write to; elsewhere, links are the user's.

    Raises:
        PermissionError: the link leads out of the folder.
    """
    import folder_paths

    writable = [
        folder_paths.get_output_directory(),
        folder_paths.get_user_directory(),
        folder_paths.get_temp_directory(),
        *folder_paths.get_folder_paths("custom_nodes"),
    ]
    folder_is_writable = any(
        _inside(os.path.abspath(folder), os.path.abspath(parent)) for parent in writable
    )
    if folder_is_writable and not _inside(os.path.realpath(path), os.path.realpath(folder)):
        raise PermissionError(f"a link out of the folder: {path[-200:]}")


def _require_listed_file(name: Any, kinds: tuple[str, ...]) -> None:
    import folder_paths

    if name == "pixel_space" and "vae" in kinds:
        return
    for kind in kinds:
        if isinstance(name, str) and name in folder_paths.get_filename_list(kind):
            model_file(folder_paths.get_full_path_or_raise(kind, name))
            return
    raise PermissionError(f"no file of a model: {str(name)[:200]!r}")


def _weights(value: Any) -> dict[str, Any]:
    """Return weights: tensors by key, or those in a file.

    Raises:
        PermissionError: the value is something else.
    """
    if isinstance(value, dict) and set(value) == {FILE}:
        import comfy.utils

        return comfy.utils.load_torch_file(model_file(value[FILE]), safe_load=True)
    if not isinstance(value, dict) or not is_data(value):
        raise PermissionError("weights are tensors by key")
    return dict(value)


def _loader_options(options: Any) -> dict[str, Any]:
    return {
        key: value
        for key, value in dict(options or {}).items()
        if key in LOADER_OPTIONS and value is not None
    }


def _embeddings() -> list[str]:
    import folder_paths

    return folder_paths.get_folder_paths("embeddings")


def _checkpoint(
    ckpt_path: Any,
    output_vae: Any = True,
    output_clip: Any = True,
    output_clipvision: Any = False,
    embedding_directory: Any = None,
    output_model: Any = True,
    model_options: Any = None,
    te_model_options: Any = None,
) -> Any:
    import comfy.sd

    return tuple(
        comfy.sd.load_checkpoint_guess_config(
            model_file(ckpt_path),
            bool(output_vae),
            bool(output_clip),
            bool(output_clipvision),
            _embeddings(),
            bool(output_model),
            model_options=_loader_options(model_options),
            te_model_options=_loader_options(te_model_options),
        )
    )


def _state_checkpoint(
    sd: Any,
    output_vae: Any = True,
    output_clip: Any = True,
    output_clipvision: Any = False,
    embedding_directory: Any = None,
    output_model: Any = True,
    model_options: Any = None,
    te_model_options: Any = None,
    metadata: Any = None,
) -> Any:
    import comfy.sd

    return comfy.sd.load_state_dict_guess_config(
        _weights(sd),
        bool(output_vae),
        bool(output_clip),
        bool(output_clipvision),
        _embeddings(),
        bool(output_model),
        _loader_options(model_options),
        te_model_options=_loader_options(te_model_options),
    )


def _diffusion(unet_path: Any, model_options: Any = None) -> Any:
    import comfy.sd

    return comfy.sd.load_diffusion_model(model_file(unet_path), _loader_options(model_options))


def _state_diffusion(sd: Any, model_options: Any = None, metadata: Any = None) -> Any:
    import comfy.sd

    return comfy.sd.load_diffusion_model_state_dict(_weights(sd), _loader_options(model_options))


def _clip(
    ckpt_paths: Any,
    embedding_directory: Any = None,
    clip_type: Any = "STABLE_DIFFUSION",
    model_options: Any = None,
) -> Any:
    import comfy.sd

    files = [model_file(path) for path in ckpt_paths]
    kind = comfy.sd.CLIPType[str(clip_type)]
    return comfy.sd.load_clip(files, _embeddings(), kind, _loader_options(model_options))


def _vae(sd: Any = None, dtype: Any = None, metadata: Any = None, **_: Any) -> Any:
    import comfy.sd

    vae = comfy.sd.VAE(sd=_weights(sd), dtype=dtype)
    vae.throw_exception_if_invalid()
    return vae


def _lora(model: Any, clip: Any, lora: Any, strength_model: Any, strength_clip: Any) -> Any:
    import comfy.sd

    return comfy.sd.load_lora_for_models(
        model, clip, _weights(lora), float(strength_model), float(strength_clip)
    )


def _by_path(module: str, name: str) -> Callable[..., Any]:
    """Return a loader of a file by path; other arguments are ignored."""

    def load(path: Any, *_: Any, **__: Any) -> Any:
        return getattr(importlib.import_module(module), name)(model_file(path))

    return load


def _by_weights(module: str, name: str) -> Callable[..., Any]:
    """Return a loader of weights; other arguments are ignored."""

    def load(sd: Any, *_: Any, **__: Any) -> Any:
        return getattr(importlib.import_module(module), name)(_weights(sd))

    return load


def _controlnet(ckpt_path: Any, model: Any = None, model_options: Any = None) -> Any:
    import comfy.controlnet

    return comfy.controlnet.load_controlnet(
        model_file(ckpt_path), model, _loader_options(model_options)
    )


def _node(name: Any, args: Any, kwargs: Any) -> Any:
    """Run a node of ComfyUI and return its outputs.

    Raises:
        PermissionError: the node is not run for packs, or is not ComfyUI's own.
    """
    if name not in ALL:
        raise PermissionError(f"the node {str(name)[:100]!r} is not run for packs")
    nodes: Any = importlib.import_module("nodes")
    from comfy_api.internal import _ComfyNodeInternal

    node = nodes.NODE_CLASS_MAPPINGS[name]
    if node.__module__ != "nodes" and "comfy_extras" not in node.__module__:
        raise PermissionError(f"the node {name!r} is not ComfyUI's own"[:200])
    v3 = issubclass(node, _ComfyNodeInternal)
    function = node.execute if v3 else getattr(node(), node.FUNCTION)
    given = inspect.signature(function).bind(*args, **kwargs).arguments
    for parameter, kinds in LOADERS.get(name, {}).items():
        _require_listed_file(given.get(parameter), kinds)
    require_data([*given.values()], functions=True)
    output = function(*args, **kwargs)
    return list(output.result or ()) if v3 else output


def call_loaded_model(target: Any, kind: str, args: Any, kwargs: Any) -> Any:
    """Call a model of the host on its device and return the result on the CPU."""
    import comfy.model_management as management

    device = management.get_torch_device()
    if kind == "UPSCALE_MODEL":
        target.to(device)
    else:
        device = next(target.parameters()).device
    result = target(*to_device(list(args), device), **to_device(dict(kwargs), device))
    return to_device(result, "cpu")


def _module_size(module: Any) -> int:
    """Return the bytes of a model's weights."""
    import comfy.model_management
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError("no model")
    return int(comfy.model_management.module_size(module))


def _keep_on_device(models: Any, *_: Any, **__: Any) -> None:
    import comfy.model_management
    import comfy.model_patcher

    patchers = [getattr(model, "patcher", model) for model in models]
    if not all(isinstance(patcher, comfy.model_patcher.ModelPatcher) for patcher in patchers):
        raise TypeError("models")
    comfy.model_management.load_models_gpu(patchers)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "node": _node,
    "nodes.common_ksampler": samplers.common,
    "comfy.sample.sample": samplers.sample,
    "comfy.sample.sample_custom": samplers.sample_custom,
    "comfy.samplers.sample": samplers.samplers_sample,
    "comfy.samplers.calculate_sigmas": samplers.calculate_sigmas,
    "comfy.samplers.sampler_object": samplers.sampler_object,
    "comfy.samplers.ksampler": samplers.ksampler,
    "sampler": samplers.sampler,
    "guider": samplers.guider,
    "guider.sample": samplers.guider_sample,
    "noise": samplers.noise,
    "model_sampling": samplings.model_sampling,
    "own_model_sampling": samplings.own_model_sampling,
    "comfy.sd.load_checkpoint_guess_config": _checkpoint,
    "comfy.sd.load_state_dict_guess_config": _state_checkpoint,
    "comfy.sd.load_diffusion_model": _diffusion,
    "comfy.sd.load_diffusion_model_state_dict": _state_diffusion,
    "comfy.sd.load_clip": _clip,
    "comfy.sd.load_style_model": _by_path("comfy.sd", "load_style_model"),
    "comfy.sd.load_gligen": _by_path("comfy.sd", "load_gligen"),
    "comfy.sd.load_lora_for_models": _lora,
    "comfy.sd.VAE": _vae,
    "comfy.controlnet.load_controlnet": _controlnet,
    "comfy.controlnet.load_controlnet_state_dict": _by_weights(
        "comfy.controlnet", "load_controlnet_state_dict"
    ),
    "comfy.clip_vision.load": _by_path("comfy.clip_vision", "load"),
    "comfy.clip_vision.load_clipvision_from_sd": _by_weights(
        "comfy.clip_vision", "load_clipvision_from_sd"
    ),
    "comfy.model_management.load_models_gpu": _keep_on_device,
    "comfy.model_management.module_size": _module_size,
}

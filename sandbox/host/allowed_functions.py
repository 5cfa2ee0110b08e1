"""Functions of ComfyUI that packs in sandboxes may have the host run: samplers, loaders, nodes.

Files are safetensors inside the folders of models, nothing else: no path leads out of them, and
nothing is unpickled for a pack.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..protocol.core_nodes import ALL, LOADERS
from ..protocol.messages import FILE
from .dispatch import data, flat, made, moved

if TYPE_CHECKING:
    from .process import Process

SUFFIXES = (".safetensors", ".sft")
LOADING = frozenset({"dtype", "weight_dtype", "load_device", "offload_device", "fp8_optimizations"})
"""What ``model_options`` of a loader may say."""


def run(process: Process, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """One of :data:`FUNCTIONS`.

    Raises:
        PermissionError: there is no such function, or it would not do that for a pack.
    """
    function = FUNCTIONS.get(name)
    if function is None:
        raise PermissionError(f"there is no function {name[:100]!r}")
    value = function(*args, **kwargs)
    made.add(process, value, (args, kwargs, list(process.objects.all())))
    return value


def model_file(path: Any, kinds: tuple[str, ...] = ()) -> str:
    """The path of a model's file, if a pack may have it loaded.

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
                _no_link_out(path, folder)
                return path
    raise PermissionError(f"no file of a model: {path[-200:]}")


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _no_link_out(path: str, folder: str) -> None:
    """Users link models from elsewhere, and may; where packs can write, links stay inside."""
    import folder_paths

    theirs = [folder_paths.get_output_directory(), folder_paths.get_user_directory()]
    theirs += [folder_paths.get_temp_directory(), *folder_paths.get_folder_paths("custom_nodes")]
    written = any(_inside(os.path.abspath(folder), os.path.abspath(one)) for one in theirs)
    if written and not _inside(os.path.realpath(path), os.path.realpath(folder)):
        raise PermissionError(f"a link out of the folder: {path[-200:]}")


def _named_file(name: Any, kinds: tuple[str, ...]) -> None:
    import folder_paths

    if name == "pixel_space" and "vae" in kinds:
        return
    for kind in kinds:
        if isinstance(name, str) and name in folder_paths.get_filename_list(kind):
            model_file(folder_paths.get_full_path_or_raise(kind, name))
            return
    raise PermissionError(f"no file of a model: {str(name)[:200]!r}")


def _state(value: Any) -> dict[str, Any]:
    """Weights: tensors by key, or those in a file."""
    if isinstance(value, dict) and set(value) == {FILE}:
        import comfy.utils

        return comfy.utils.load_torch_file(model_file(value[FILE]), safe_load=True)
    if not isinstance(value, dict) or next(flat(value), None) is not None:
        raise PermissionError("weights are tensors by key")
    return dict(value)


def _loading(options: Any) -> dict[str, Any]:
    return {k: v for k, v in dict(options or {}).items() if k in LOADING and v is not None}


def _embeddings() -> list[str]:
    import folder_paths

    return folder_paths.get_folder_paths("embeddings")


def _checkpoint(
    ckpt_path: Any, output_vae: Any = True, output_clip: Any = True, output_clipvision: Any = False,
    embedding_directory: Any = None, output_model: Any = True, model_options: Any = None,
    te_model_options: Any = None,
) -> Any:  # fmt: skip
    import comfy.sd

    return tuple(
        comfy.sd.load_checkpoint_guess_config(
            model_file(ckpt_path), bool(output_vae), bool(output_clip), bool(output_clipvision),
            _embeddings(), bool(output_model), model_options=_loading(model_options),
            te_model_options=_loading(te_model_options),
        )
    )  # fmt: skip


def _state_checkpoint(
    sd: Any, output_vae: Any = True, output_clip: Any = True, output_clipvision: Any = False,
    embedding_directory: Any = None, output_model: Any = True, model_options: Any = None,
    te_model_options: Any = None, metadata: Any = None,
) -> Any:  # fmt: skip
    import comfy.sd

    return comfy.sd.load_state_dict_guess_config(
        _state(sd), bool(output_vae), bool(output_clip), bool(output_clipvision), _embeddings(),
        bool(output_model), _loading(model_options), te_model_options=_loading(te_model_options),
    )  # fmt: skip


def _diffusion(unet_path: Any, model_options: Any = None) -> Any:
    import comfy.sd

    return comfy.sd.load_diffusion_model(model_file(unet_path), _loading(model_options))


def _state_diffusion(sd: Any, model_options: Any = None, metadata: Any = None) -> Any:
    import comfy.sd

    return comfy.sd.load_diffusion_model_state_dict(_state(sd), _loading(model_options))


def _clip(
    ckpt_paths: Any, embedding_directory: Any = None, clip_type: Any = "STABLE_DIFFUSION",
    model_options: Any = None,
) -> Any:  # fmt: skip
    import comfy.sd

    files = [model_file(one) for one in ckpt_paths]
    kind = comfy.sd.CLIPType[str(clip_type)]
    return comfy.sd.load_clip(files, _embeddings(), kind, _loading(model_options))


def _vae(sd: Any = None, dtype: Any = None, metadata: Any = None, **_: Any) -> Any:
    import comfy.sd

    found = comfy.sd.VAE(sd=_state(sd), dtype=dtype)
    found.throw_exception_if_invalid()
    return found


def _lora(model: Any, clip: Any, lora: Any, strength_model: Any, strength_clip: Any) -> Any:
    import comfy.sd

    return comfy.sd.load_lora_for_models(
        model, clip, _state(lora), float(strength_model), float(strength_clip)
    )


def _by_path(module: str, name: str) -> Callable[..., Any]:
    """A loader that takes a path and nothing else that counts."""

    def load(path: Any, *_: Any, **__: Any) -> Any:
        return getattr(importlib.import_module(module), name)(model_file(path))

    return load


def _by_state(module: str, name: str) -> Callable[..., Any]:
    def load(sd: Any, *_: Any, **__: Any) -> Any:
        return getattr(importlib.import_module(module), name)(_state(sd))

    return load


def _controlnet(ckpt_path: Any, model: Any = None, model_options: Any = None) -> Any:
    import comfy.controlnet

    return comfy.controlnet.load_controlnet(model_file(ckpt_path), model, _loading(model_options))


def _node(name: Any, args: Any, kwargs: Any) -> Any:
    """A node of ComfyUI's own; what it gives, as a tuple."""
    if name not in ALL:
        raise PermissionError(f"the node {str(name)[:100]!r} is not run for packs")
    nodes: Any = importlib.import_module("nodes")
    from comfy_api.internal import _ComfyNodeInternal

    node = nodes.NODE_CLASS_MAPPINGS[name]
    own = node.__module__ == "nodes" or "comfy_extras" in node.__module__
    if not own:
        raise PermissionError(f"the node {name!r} is not ComfyUI's own"[:200])
    v3 = issubclass(node, _ComfyNodeInternal)
    function = node.execute if v3 else getattr(node(), node.FUNCTION)
    given = inspect.signature(function).bind(*args, **kwargs).arguments
    for parameter, kinds in LOADERS.get(name, {}).items():
        _named_file(given.get(parameter), kinds)
    data([*given.values()], functions=True)
    found = function(*args, **kwargs)
    return list(found.result or ()) if v3 else found


def loaded(target: Any, kind: str, args: Any, kwargs: Any) -> Any:
    """Call a model that the host keeps, on its device; tensors come back from there."""
    import comfy.model_management as management

    device = management.get_torch_device()
    if kind == "UPSCALE_MODEL":
        target.to(device)
    else:
        device = next(target.parameters()).device
    return moved(target(*moved(list(args), device), **moved(dict(kwargs), device)), "cpu")


def _module_size(module: Any) -> int:
    """Bytes of a model's weights."""
    import comfy.model_management
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError("no model")
    return int(comfy.model_management.module_size(module))


def _keep_on_device(models: Any, *_: Any, **__: Any) -> None:
    import comfy.model_management
    import comfy.model_patcher

    patchers = [getattr(one, "patcher", one) for one in models]
    if not all(isinstance(one, comfy.model_patcher.ModelPatcher) for one in patchers):
        raise TypeError("models")
    comfy.model_management.load_models_gpu(patchers)


def _functions() -> dict[str, Callable[..., Any]]:
    from . import allowed_samplers as samplers

    return {
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
        "model_sampling": samplers.model_sampling,
        "own_model_sampling": samplers.own_model_sampling,
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
        "comfy.controlnet.load_controlnet_state_dict": _by_state(
            "comfy.controlnet", "load_controlnet_state_dict"
        ),
        "comfy.clip_vision.load": _by_path("comfy.clip_vision", "load"),
        "comfy.clip_vision.load_clipvision_from_sd": _by_state(
            "comfy.clip_vision", "load_clipvision_from_sd"
        ),
        "comfy.model_management.load_models_gpu": _keep_on_device,
        "comfy.model_management.module_size": _module_size,
    }


FUNCTIONS = _functions()

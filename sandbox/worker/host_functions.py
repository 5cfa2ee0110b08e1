"""Functions of ComfyUI that the host runs for a worker: those that need an object of the host.

They replace ComfyUI's before a pack is imported, since packs copy what they import. Without an
object of the host, most of them still run here.
"""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

from ..protocol.core_nodes import ALL, USERS
from ..protocol.messages import FILE, PREVIEW
from .host_client import HostClient
from .remote_objects import HostObject, Options

DEEPEST = 8
"""Nesting of containers that are searched for objects of the host."""
WITH_OBJECTS = (
    "nodes.common_ksampler",
    "comfy.samplers.calculate_sigmas",
    "comfy.sd.load_lora_for_models",
    "comfy.model_management.module_size",
)
"""Run in the host if an argument is an object of the host."""
ALWAYS = (
    "comfy.sd.load_checkpoint_guess_config",
    "comfy.sd.load_state_dict_guess_config",
    "comfy.sd.load_diffusion_model",
    "comfy.sd.load_diffusion_model_state_dict",
    "comfy.sd.load_clip",
    "comfy.sd.load_style_model",
    "comfy.sd.load_gligen",
    "comfy.controlnet.load_controlnet",
    "comfy.controlnet.load_controlnet_state_dict",
    "comfy.clip_vision.load",
    "comfy.clip_vision.load_clipvision_from_sd",
    "comfy.samplers.sampler_object",
    "comfy.samplers.ksampler",
)
"""Always run in the host, which cannot use a model that is loaded here."""
SAMPLING = {
    "comfy.sample.sample": "callback",
    "comfy.sample.sample_custom": "callback",
    "comfy.samplers.sample": "callback",
}
"""Return samples and the last x0, for a callback that is ComfyUI's own."""


class Weights(dict[str, Any]):
    """The result of ``load_torch_file``: the path is enough for the host while it is unchanged.

    Args:
        path: of the file.
        values: its tensors.
    """

    def __init__(self, path: str, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.path = path
        self._ids = {key: id(value) for key, value in values.items()}

    def for_host(self) -> dict[str, Any]:
        """Return the path, or the tensors if they are no longer those of the file."""
        if {key: id(value) for key, value in self.items()} == self._ids:
            return {FILE: self.path}
        return dict(self)


class Preview:
    """The callback of ``latent_preview.prepare_callback``; the host shows previews itself.

    Args:
        steps: of the sampler.
        output: gets the last x0 under ``x0``, if there is one.
    """

    def __init__(self, steps: int, output: dict[str, Any] | None) -> None:
        self.steps = steps
        self.output = output
        self._bar: Any = None

    def __call__(self, step: int, x0: Any, x: Any, total_steps: int) -> None:
        """Store x0 and report progress."""
        import comfy.utils

        if self.output is not None:
            self.output["x0"] = x0
        self._bar = self._bar or comfy.utils.ProgressBar(self.steps)
        self._bar.update_absolute(step + 1, total_steps)


class HostFunctions:
    """Replaces ComfyUI's functions.

    Args:
        client: asks the host.
    """

    def __init__(self, client: HostClient) -> None:
        self.client = client

    def install(self) -> None:
        """Replace all of them in ComfyUI's modules."""
        for name in (*ALWAYS, *WITH_OBJECTS, *SAMPLING):
            module_name, _, attribute = name.rpartition(".")
            module = importlib.import_module(module_name)
            if (original := getattr(module, attribute, None)) is not None:
                setattr(module, attribute, self._function(name, original))
        self._replace_nodes()
        self._replace_vae()
        self._replace_guider()
        self._replace_previews()
        self._replace_load_torch_file()
        self._replace_load_models_gpu()

    def ask(self, name: str, args: Any, kwargs: Any) -> Any:
        """Have the host run a function."""
        positional = [_for_host(value) for value in args]
        return self.client.ask(None, name, [positional, _for_host(dict(kwargs))])

    def _function(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def function(*args: Any, **kwargs: Any) -> Any:
            if name not in ALWAYS and not has_host_object((args, kwargs)):
                return original(*args, **kwargs)
            if name not in SAMPLING:
                return self.ask(name, args, kwargs)
            return self._sample(name, original, args, kwargs)

        return function

    def _sample(self, name: str, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        bound = dict(inspect.signature(original).bind(*args, **kwargs).arguments)
        if "self" in bound:
            bound["guider"] = bound.pop("self")
        if isinstance(bound.get("model_options"), Options):
            del bound["model_options"]
        callback = bound.get("callback")
        if isinstance(callback, Preview):
            bound["callback"] = {PREVIEW: callback.steps}
        samples, x0 = self.ask(name, [], bound)
        if isinstance(callback, Preview) and callback.output is not None and x0 is not None:
            callback.output["x0"] = x0
        return samples

    def _replace_nodes(self) -> None:
        nodes: Any = importlib.import_module("nodes")
        from comfy_api.internal import _ComfyNodeInternal

        for name in ALL & nodes.NODE_CLASS_MAPPINGS.keys():
            node = nodes.NODE_CLASS_MAPPINGS[name]
            if issubclass(node, _ComfyNodeInternal):
                original = node.__dict__["execute"]
                replacement = classmethod(self._v3_execute(name, original.__func__))
                for attribute in [k for k, v in vars(node).items() if v is original]:
                    setattr(node, attribute, replacement)
            else:
                setattr(node, node.FUNCTION, self._v1_run(name, getattr(node, node.FUNCTION)))

    def _v1_run(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def run(node: Any, *args: Any, **kwargs: Any) -> Any:
            if name in USERS and not has_host_object((args, kwargs)):
                return original(node, *args, **kwargs)
            return self.ask("node", [name, list(args), kwargs], {})

        return run

    def _v3_execute(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def execute(node: Any, *args: Any, **kwargs: Any) -> Any:
            from comfy_api.latest import io

            if name in USERS and not has_host_object((args, kwargs)):
                return original(node, *args, **kwargs)
            return io.NodeOutput(*self.ask("node", [name, list(args), kwargs], {}))

        return execute

    def _replace_vae(self) -> None:
        import comfy.sd

        vae: Any = comfy.sd.VAE
        vae.__new__ = lambda _cls, *args, **kwargs: self.ask("comfy.sd.VAE", args, kwargs)

    def _replace_guider(self) -> None:
        import comfy.samplers

        guider: Any = comfy.samplers.CFGGuider
        original = guider.sample

        @functools.wraps(original)
        def sample(this: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(this.model_patcher, HostObject):
                return original(this, *args, **kwargs)
            return self._sample("guider.sample", original, (this, *args), kwargs)

        guider.sample = sample

    def _replace_previews(self) -> None:
        import latent_preview

        original = latent_preview.prepare_callback

        @functools.wraps(original)
        def prepare_callback(model: Any, steps: int, x0_output_dict: Any = None) -> Any:
            if isinstance(model, HostObject):
                return Preview(steps, x0_output_dict)
            return original(model, steps, x0_output_dict)

        latent_preview.prepare_callback = prepare_callback

    def _replace_load_torch_file(self) -> None:
        import comfy.utils

        original = comfy.utils.load_torch_file

        @functools.wraps(original)
        def load_torch_file(ckpt: Any, *args: Any, **kwargs: Any) -> Any:
            content = original(ckpt, *args, **kwargs)
            if not str(ckpt).lower().endswith((".safetensors", ".sft")):
                return content
            if isinstance(content, tuple):
                return (Weights(os.path.abspath(ckpt), content[0]), *content[1:])
            return Weights(os.path.abspath(ckpt), content)

        comfy.utils.load_torch_file = load_torch_file

    def _replace_load_models_gpu(self) -> None:
        import comfy.model_management as management

        original = management.load_models_gpu

        @functools.wraps(original)
        def load_models_gpu(models: Any, *args: Any, **kwargs: Any) -> Any:
            in_host = [model for model in models if isinstance(model, HostObject)]
            if in_host:
                self.ask("comfy.model_management.load_models_gpu", [in_host], {})
            here = [model for model in models if not isinstance(model, HostObject)]
            return original(here, *args, **kwargs) if here else None

        management.load_models_gpu = load_models_gpu


def has_host_object(value: Any) -> bool:
    """Return whether lists, tuples and dictionaries contain an object of the host."""
    return any(True for _ in _host_objects(value, 0))


def _host_objects(value: Any, depth: int) -> Iterator[HostObject]:
    if type(value) in {list, tuple}:
        for item in value:
            if depth < DEEPEST:
                yield from _host_objects(item, depth + 1)
    elif isinstance(value, dict):
        yield from _host_objects(list(value.values()), depth)
    elif isinstance(value, HostObject):
        yield value


def _for_host(value: Any) -> Any:
    """Return a value as the host accepts it: files by path, members of enumerations by name."""
    if isinstance(value, Weights):
        return value.for_host()
    if isinstance(value, enum.Enum):
        return value.name
    if type(value) is dict:
        return {key: _for_host(item) for key, item in value.items()}
    return value

"""ComfyUI's functions in a worker that the host has to run: those that get an object of the host.

They are put in place before a pack is imported, since packs copy what they import. Each still runs
here when it gets nothing of the host's.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..protocol.core_nodes import ALL, USERS
from ..protocol.messages import FILE, PREVIEW
from .remote_objects import HostObject, Options

if TYPE_CHECKING:
    from .worker import Worker

WITH_OBJECTS = (
    "nodes.common_ksampler",
    "comfy.samplers.calculate_sigmas",
    "comfy.sd.load_lora_for_models",
    "comfy.model_management.module_size",
)
"""Run in the host when an argument is an object of the host."""
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
"""Run in the host always: a second copy of a model, here, would be of no use to it."""
SAMPLING = {
    "comfy.sample.sample": "callback",
    "comfy.sample.sample_custom": "callback",
    "comfy.samplers.sample": "callback",
}
"""Give samples and the last x0, for a callback that is ComfyUI's own."""


class Weights(dict[str, Any]):
    """What ``load_torch_file`` gave: as long as nobody changes it, its path says it all."""

    def __init__(self, path: str, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.path = path
        self._was = {key: id(value) for key, value in values.items()}

    def plain(self) -> dict[str, Any]:
        """For the host: the path, or the tensors if they are not those of the file."""
        if {key: id(value) for key, value in self.items()} == self._was:
            return {FILE: self.path}
        return dict(self)


class Preview:
    """In the place of ``latent_preview.prepare_callback``: the host shows previews by itself."""

    def __init__(self, steps: int, seen: dict[str, Any] | None) -> None:
        self.steps, self.seen = steps, seen
        self._bar: Any = None

    def __call__(self, step: int, x0: Any, x: Any, total_steps: int) -> None:
        import comfy.utils

        if self.seen is not None:
            self.seen["x0"] = x0
        self._bar = self._bar or comfy.utils.ProgressBar(self.steps)
        self._bar.update_absolute(step + 1, total_steps)


class Hosted:
    """Puts the functions in place.

    Args:
        worker: asks the host.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def install(self) -> None:
        """In the place of ComfyUI's."""
        for name in (*ALWAYS, *WITH_OBJECTS, *SAMPLING):
            module, own = _place(name)
            if (original := getattr(module, own, None)) is not None:
                setattr(module, own, self._function(name, original))
        self._nodes()
        self._classes()
        self._preview()
        self._files()

    def ask(self, name: str, args: Any, kwargs: Any) -> Any:
        """Have the host run it."""
        return self.worker.ask(None, name, [[_plain(one) for one in args], _plain(dict(kwargs))])

    def _function(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def function(*args: Any, **kwargs: Any) -> Any:
            if name not in ALWAYS and not any(_objects((args, kwargs))):
                return original(*args, **kwargs)
            if name not in SAMPLING:
                return self.ask(name, args, kwargs)
            return self._sampled(name, original, args, kwargs)

        return function

    def _sampled(self, name: str, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        import inspect

        bound = dict(inspect.signature(original).bind(*args, **kwargs).arguments)
        if "self" in bound:
            bound["guider"] = bound.pop("self")
        if isinstance(bound.get("model_options"), Options):
            del bound["model_options"]
        callback = bound.get("callback")
        if isinstance(callback, Preview):
            bound["callback"] = {PREVIEW: callback.steps}
        samples, x0 = self.ask(name, [], bound)
        if isinstance(callback, Preview) and callback.seen is not None and x0 is not None:
            callback.seen["x0"] = x0
        return samples

    def _nodes(self) -> None:
        nodes: Any = importlib.import_module("nodes")
        from comfy_api.internal import _ComfyNodeInternal

        for name in ALL & nodes.NODE_CLASS_MAPPINGS.keys():
            node = nodes.NODE_CLASS_MAPPINGS[name]
            if issubclass(node, _ComfyNodeInternal):
                was = node.__dict__["execute"]
                made = classmethod(self._v3(name, was.__func__))
                for own in [k for k, v in vars(node).items() if v is was]:
                    setattr(node, own, made)
            else:
                setattr(node, node.FUNCTION, self._v1(name, getattr(node, node.FUNCTION)))

    def _v1(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def run(node: Any, *args: Any, **kwargs: Any) -> Any:
            if name in USERS and not any(_objects((args, kwargs))):
                return original(node, *args, **kwargs)
            return self.ask("node", [name, list(args), kwargs], {})

        return run

    def _v3(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def execute(node: Any, *args: Any, **kwargs: Any) -> Any:
            from comfy_api.latest import io

            if name in USERS and not any(_objects((args, kwargs))):
                return original(node, *args, **kwargs)
            return io.NodeOutput(*self.ask("node", [name, list(args), kwargs], {}))

        return execute

    def _classes(self) -> None:
        import comfy.samplers
        import comfy.sd

        vae: Any = comfy.sd.VAE
        vae.__new__ = lambda _cls, *args, **kwargs: self.ask("comfy.sd.VAE", args, kwargs)
        guider: Any = comfy.samplers.CFGGuider
        original = guider.sample

        @functools.wraps(original)
        def sample(this: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(this.model_patcher, HostObject):
                return original(this, *args, **kwargs)
            return self._sampled("guider.sample", original, (this, *args), kwargs)

        guider.sample = sample

    def _preview(self) -> None:
        import latent_preview

        original = latent_preview.prepare_callback

        @functools.wraps(original)
        def prepare_callback(model: Any, steps: int, x0_output_dict: Any = None) -> Any:
            if isinstance(model, HostObject):
                return Preview(steps, x0_output_dict)
            return original(model, steps, x0_output_dict)

        latent_preview.prepare_callback = prepare_callback

    def _files(self) -> None:
        import comfy.model_management as management
        import comfy.utils

        load, keep = comfy.utils.load_torch_file, management.load_models_gpu

        @functools.wraps(load)
        def load_torch_file(ckpt: Any, *args: Any, **kwargs: Any) -> Any:
            found = load(ckpt, *args, **kwargs)
            if not str(ckpt).lower().endswith((".safetensors", ".sft")):
                return found
            if isinstance(found, tuple):
                return (Weights(os.path.abspath(ckpt), found[0]), *found[1:])
            return Weights(os.path.abspath(ckpt), found)

        @functools.wraps(keep)
        def load_models_gpu(models: Any, *args: Any, **kwargs: Any) -> Any:
            theirs = [one for one in models if isinstance(one, HostObject)]
            if theirs:
                self.ask("comfy.model_management.load_models_gpu", [theirs], {})
            own = [one for one in models if not isinstance(one, HostObject)]
            return keep(own, *args, **kwargs) if own else None

        comfy.utils.load_torch_file = load_torch_file
        management.load_models_gpu = load_models_gpu


def _place(name: str) -> tuple[Any, str]:
    module, _, own = name.rpartition(".")
    return importlib.import_module(module), own


def _objects(value: Any, depth: int = 0) -> Iterator[bool]:
    """True for each object of the host in lists, tuples and dictionaries."""
    if type(value) in {list, tuple}:
        for one in value:
            if depth < 8:
                yield from _objects(one, depth + 1)
    elif isinstance(value, dict):
        yield from _objects(list(value.values()), depth)
    elif isinstance(value, HostObject):
        yield True


def _plain(value: Any) -> Any:
    """Values as the host takes them: files by path, members of enumerations by name."""
    import enum

    if isinstance(value, Weights):
        return value.plain()
    if isinstance(value, enum.Enum):
        return value.name
    if type(value) is dict:
        return {key: _plain(one) for key, one in value.items()}
    return value

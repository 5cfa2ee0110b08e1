"""A model of the family is loaded only after the previous one has left, where both do not fit.

With room for both, nothing is done: the host decides which models stay. Without, the host takes
from a loaded model only what it needs at that moment; here the previous model leaves completely,
and that is measured. On the GPU this happens when the host loads a model. In RAM it happens before
a prompt with another loader (:mod:`.admission`), because by then the loader has not read its files.

Something else, a node pack for example, may hold a model that stays nevertheless. It leaves only
with the process: under a guardian, the next process runs the prompt and has nothing loaded.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

from ..base import comfyui
from ..base.handover import hand_over
from ..base.hooks import Argument, Function, HookPoint, Patch
from ..base.registry import About
from . import readings

log = logging.getLogger(__name__)

ABOUT = About(
    part="swap",
    bare_host=(
        "A model that does not fit beside the previous one displaces only the part that it needs."
    ),
    here=(
        "The previous model leaves first (measured: below 1 % remains). If it stays nevertheless,"
        " it leaves with its process: under the guardian the prompt runs in the next server (never"
        " for the first prompt of a process). With room for both, nothing happens."
    ),
)
LOAD = HookPoint("comfy.model_management", "load_models_gpu", ("models", "memory_required"))
MAX_RESIDENT = 0.01
"""Part of a model that may remain when it has left."""
ATTEMPTS = 3
STAYS = "有模型无法从内存中移除 / a model stays in memory: something holds it"
EVERYTHING = 1e32
"""More bytes than any device has, so that the host unloads all that it may."""


def create() -> Swap:
    """Return the part."""
    return Swap()


class Swap(Patch):
    """Unloads models before the host loads others.

    Attributes:
        swaps: how often a model had to leave.
        incomplete: how often it did not leave completely.
    """

    def __init__(self) -> None:
        super().__init__(LOAD, self.make_way_before)
        self.swaps = 0
        self.incomplete = 0

    def details(self) -> dict[str, int]:
        """Return both counts for ``/health``."""
        return {"swaps": self.swaps, "incomplete": self.incomplete}

    def make_way_before(self, original: Function) -> Function:
        """Wrap the host's ``load_models_gpu``."""
        models_argument = Argument(original, "models")
        memory = Argument(original, "memory_required")

        def load(*arguments: Any, **named: Any) -> Any:
            models = list(models_argument.of(arguments, named))
            arguments, named = models_argument.replaced(arguments, named, models)
            try:
                self._make_way(models, memory.of(arguments, named))
            except Exception:
                log.exception("Z-Image: it is not known whether a model has to leave first")
            return original(*arguments, **named)

        return load

    def _make_way(self, models: list[Any], memory_required: float) -> None:
        host = comfyui.memory_management()
        loaded = [entry for entry in list(host.current_loaded_models) if entry.model is not None]
        fresh = [m for m in models if not any(entry.model.is_clone(m) for entry in loaded)]
        for place in {m.load_device for m in fresh if is_ours(m) and m.load_device.type != "cpu"}:
            outgoing = [
                entry
                for entry in loaded
                if entry.device == place
                and is_ours(entry.model)
                and not any(entry.model.is_clone(model) for model in models)
            ]
            weights = sum(m.model_size() for m in fresh if m.load_device == place)
            extra = memory_required + host.extra_reserved_memory()
            # The same sum as the host's.
            needed = 1.1 * weights + max(host.minimum_inference_memory(), extra)
            if outgoing and readings.available(place) < needed:
                self._evict(outgoing, [e for e in loaded if e not in outgoing], place)

    def _evict(self, outgoing: list[Any], kept: list[Any], place: Any) -> None:
        modules = [weakref.ref(entry.model.model) for entry in outgoing]

        def unload() -> None:
            comfyui.memory_management().free_memory(EVERYTHING, place, kept)

        self.swaps += 1
        if not unload_until_free(modules, unload, place):
            self.incomplete += 1
            hand_over(STAYS)


def is_ours(model: Any) -> bool:
    """Return whether a patcher holds a diffusion model of the Z-Image family."""
    config = getattr(getattr(getattr(model, "model", None), "model_config", None), "unet_config", 0)
    return bool(isinstance(config, dict) and config.get("z_image_modulation"))


def make_way_in_ram(executor: Any) -> bool:
    """Drop the host's caches and models; return whether all models of ours have left RAM."""
    host = comfyui.memory_management()
    held = [entry.model for entry in list(host.current_loaded_models)]
    modules = [weakref.ref(model.model) for model in held if is_ours(model)]

    def unload() -> None:
        host.unload_all_models()
        executor.reset()

    held.clear()
    return unload_until_free(modules, unload, None)


def unload_until_free(
    modules: list[weakref.ref[Any]], unload: Callable[[], None], place: Any
) -> bool:
    """Unload, collect and measure, up to :data:`ATTEMPTS` times; return whether it was enough.

    Args:
        modules: the models that have to leave.
        unload: asks the host to unload them.
        place: the device that they have to leave; None for all devices.
    """
    before = sum(size(module, None) for module in modules)
    remaining = before
    for _ in range(ATTEMPTS):
        unload()
        readings.collect_all()
        remaining = sum(size(module, place) for module in modules)
        if remaining <= MAX_RESIDENT * before:
            return True
    mib = 2**20
    log.warning(
        "Z-Image: %d of %d MiB of the previous model stay in use", remaining / mib, before / mib
    )
    return False


def size(reference: weakref.ref[Any], place: Any) -> int:
    """Return the bytes of a model's weights on a device, or on all devices; 0 if it was freed."""
    module = reference()
    if module is None:
        return 0
    weights = (*module.parameters(), *module.buffers())
    return sum(weight.nbytes for weight in weights if place is None or weight.device == place)

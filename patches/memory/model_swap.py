"""Another model of the family is loaded only once the one before has gone, where both do not fit.

With room for both nothing is done: which models stay is the host's own policy. Without, the host
takes from a loaded model only what it needs at that moment; here the outgoing one goes altogether,
and that is measured. On the GPU this happens when the host loads a model, in RAM before a prompt
with another loader (:mod:`.memory`), because by then the loader has not read its files.

One that stays all the same is somebody's, a node pack's say, and goes with the process alone: under
a guardian the prompt is left to the next one, which has nothing loaded.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

from ..base.hooks import Argument, Function, HookPoint, Patch
from ..queue import worker_thread
from . import readings

log = logging.getLogger(__name__)

LOAD = HookPoint("comfy.model_management", "load_models_gpu", ("models", "memory_required"))
MOST_RESIDENT = 0.01
ATTEMPTS = 3
STAYS = "有模型无法从内存中移除 / a model stays in memory: something holds it"
EVERYTHING = 1e32
"""More bytes than there are: what the host unloads for it is all that it may."""


def create() -> Swap:
    """The guard of the running server."""
    return Swap()


class Swap(Patch):
    """Watches the host load models."""

    def __init__(self) -> None:
        super().__init__(LOAD, self._wrap)
        self.swaps = self.incomplete = 0

    def details(self) -> dict[str, int]:
        """For ``/health``: how often a model had to go, and how often it did not go altogether."""
        return {"swaps": self.swaps, "incomplete": self.incomplete}

    def _wrap(self, original: Function) -> Function:
        wanted = Argument(original, "models")
        memory = Argument(original, "memory_required")

        def load(*arguments: Any, **named: Any) -> Any:
            models = list(wanted.of(arguments, named))
            arguments, named = wanted.replaced(arguments, named, models)
            try:
                self._make_way(models, memory.of(arguments, named))
            except Exception:
                log.exception("Z-Image: whether a model has to go first is not known")
            return original(*arguments, **named)

        return load

    def _make_way(self, models: list[Any], memory_required: float) -> None:
        host = readings.management()
        held = [entry for entry in list(host.current_loaded_models) if entry.model is not None]
        fresh = [m for m in models if not any(entry.model.is_clone(m) for entry in held)]
        for place in {m.load_device for m in fresh if is_ours(m) and m.load_device.type != "cpu"}:
            outgoing = [e for e in held if e.device == place and is_ours(e.model)
                        and not any(e.model.is_clone(m) for m in models)]  # fmt: skip
            weights = sum(m.model_size() for m in fresh if m.load_device == place)
            extra = memory_required + host.extra_reserved_memory()
            needed = 1.1 * weights + max(host.minimum_inference_memory(), extra)  # as the host does
            if outgoing and readings.available(place) < needed:
                self._evict(outgoing, [e for e in held if e not in outgoing], place)

    def _evict(self, outgoing: list[Any], kept: list[Any], place: Any) -> None:
        modules = [weakref.ref(entry.model.model) for entry in outgoing]

        def unload() -> None:
            readings.management().free_memory(EVERYTHING, place, kept)

        self.swaps += 1
        if not until_gone(modules, unload, place):
            self.incomplete += 1
            worker_thread.leave(STAYS)


def is_ours(model: Any) -> bool:
    """Whether a patcher holds a diffusion model of the Z-Image family."""
    config = getattr(getattr(getattr(model, "model", None), "model_config", None), "unet_config", 0)
    return bool(isinstance(config, dict) and config.get("z_image_modulation"))


def make_way_in_ram(executor: Any) -> bool:
    """Drop the host's caches and models; False when a model of ours is still in RAM afterwards."""
    host = readings.management()
    held = [entry.model for entry in list(host.current_loaded_models)]
    modules = [weakref.ref(model.model) for model in held if is_ours(model)]

    def unload() -> None:
        host.unload_all_models()
        executor.reset()

    held.clear()
    return until_gone(modules, unload, None)


def until_gone(modules: list[weakref.ref[Any]], unload: Callable[[], None], place: Any) -> bool:
    """Unload, collect and measure, up to :data:`ATTEMPTS` times; a warning when that is not enough.

    Args:
        place: the device that has to be free of their weights; None for anywhere at all.
    """
    before = sum(size(module, None) for module in modules)
    left = before
    for _ in range(ATTEMPTS):
        unload()
        readings.collect_all()
        left = sum(size(module, place) for module in modules)
        if left <= MOST_RESIDENT * before:
            return True
    mib = 2**20
    log.warning("Z-Image: %d of %d MiB of the model before stay in use", left / mib, before / mib)
    return False


def size(module: weakref.ref[Any], place: Any) -> int:
    """Bytes of a model's weights that lie on a device, or anywhere; 0 when the model has gone."""
    found = module()
    if found is None:
        return 0
    weights = (*found.parameters(), *found.buffers())
    return sum(one.nbytes for one in weights if place is None or one.device == place)

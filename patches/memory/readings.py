"""Measure memory and the part of it that models use; return unused memory to the system.

All numbers are bytes. torch and the host's modules are used only if they are loaded already.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..base import comfyui, ram, sandbox_source

objects: set[str] = set()
"""Names of what parts keep between prompts besides models; how much it takes is not known."""


@dataclass(frozen=True)
class Reading:
    """Memory in use at one moment.

    Attributes:
        resident: RAM of this process.
        reserved: by torch on the GPU; None without CUDA.
        models: weights of the models that are loaded where ``used`` is measured.
        loaded: class and size of each of these models, and :data:`objects`; sorted.
        kept: buffers where ``used`` is measured that wait for the next tensors of sandboxes.
    """

    resident: int
    reserved: int | None
    models: int = 0
    loaded: tuple[tuple[str, int], ...] = ()
    kept: int = 0

    @classmethod
    def take(cls) -> Reading:
        """Measure now, which takes some ten microseconds."""
        place = comfyui.device()
        on_gpu = place.type == "cuda"
        reserved = sys.modules["torch"].cuda.memory_reserved(place) if on_gpu else None
        patchers = loaded(place).values()
        names = sorted((type(each.model).__name__, each.model_size()) for each in patchers)
        names += [(name, 0) for name in sorted(objects)]
        # On the CPU, no part of a model is elsewhere.
        sizes = (each.loaded_size() if on_gpu else each.model_size() for each in patchers)
        kept = 0 if on_gpu else sandbox_source.kept()
        return cls(ram.resident(), reserved, sum(sizes), tuple(names), kept)

    @property
    def used(self) -> int:
        """Memory that prompts are compared by: of the GPU, or of the process without one."""
        return self.resident if self.reserved is None else self.reserved

    @property
    def others(self) -> int:
        """Memory in use by no model and by no buffer that waits for its next use."""
        return self.used - self.models - self.kept

    def moved(self, other: Reading) -> int:
        """Return by how much memory differs, in RAM or on the GPU, whichever is more."""
        on_gpu = abs((self.reserved or 0) - (other.reserved or 0))
        return max(abs(self.resident - other.resident), on_gpu)

    def left_since(self, before: Reading) -> float:
        """Return the growth since ``before`` that no model uses, as a part of all in use."""
        return (self.others - before.others) / max(self.used, before.used, 1)


def loaded(place: Any) -> dict[int, Any]:
    """Return one of the host's patchers for each model that is loaded on a device."""
    entries = list(comfyui.memory_management().current_loaded_models)
    models = (entry.model for entry in entries if entry.device == place)
    return {id(model.model): model for model in models if model is not None}


def available(place: Any) -> int:
    """Return the memory that is available on a device, as the host counts it, or in RAM."""
    if place.type == "cpu":
        return ram.available()
    return int(comfyui.memory_management().get_free_memory(place))


def total(place: Any) -> int:
    """Return all memory of a device."""
    if place.type == "cpu":
        return ram.whole()
    return int(comfyui.memory_management().get_total_memory(place))


def collect() -> None:
    """Return all unused memory: objects, the GPU's cache, free pages of the heap."""
    gc.collect()
    comfyui.memory_management().soft_empty_cache()
    trim = _trim()
    if trim is not None:
        trim(0)


def freeze() -> None:
    """Exclude all present objects from garbage collection, which is then ten times as fast."""
    gc.freeze()


def thaw() -> None:
    """Undo :func:`freeze`."""
    gc.unfreeze()


def collect_all() -> None:
    """Collect as :func:`collect`, with the objects that :func:`freeze` has excluded.

    This takes some tenths of a second.
    """
    was_frozen = gc.get_freeze_count() > 0
    thaw()
    collect()
    if was_frozen:
        freeze()


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``; allocators of other systems return memory themselves."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None

"""How much memory there is, how much is in use, what models account for; and giving it back.

Bytes everywhere. torch and the host are looked up where they are loaded already.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..monitoring import sandbox_source
from . import ram

objects: set[str] = set()
"""What a part keeps between prompts beside models, by name; how much it takes is not known."""

rest: dict[str, Any] | None = None
"""When memory was last given back after a prompt: how many prompts there had been, what was then
resident in MiB, which models were loaded."""


def management() -> Any:
    """The host's ``comfy.model_management``."""
    return sys.modules["comfy.model_management"]


def device() -> Any:
    """Where the host computes, a ``torch.device``."""
    return management().get_torch_device()


@dataclass(frozen=True)
class Reading:
    """What is in use at one moment.

    Attributes:
        resident: of this process in RAM.
        reserved: by torch on the GPU; None without CUDA.
        models: weights of the models that the host has loaded where ``used`` is measured.
        loaded: class and size of each of these, and :data:`objects`, in no order.
        kept: where ``used`` is measured, for the next tensors to and from sandboxes.
    """

    resident: int
    reserved: int | None
    models: int = 0
    loaded: tuple[tuple[str, int], ...] = ()
    kept: int = 0

    @classmethod
    def take(cls) -> Reading:
        """Now; costs some ten microseconds."""
        place = device()
        on_gpu = place.type == "cuda"
        reserved = sys.modules["torch"].cuda.memory_reserved(place) if on_gpu else None
        found = loaded(place).values()
        names = sorted((type(one.model).__name__, one.model_size()) for one in found)
        names += [(name, 0) for name in sorted(objects)]
        # On the CPU there is no part of a model that is elsewhere.
        sizes = (one.loaded_size() if on_gpu else one.model_size() for one in found)
        kept = 0 if on_gpu else sandbox_source.kept()
        return cls(ram.resident(), reserved, sum(sizes), tuple(names), kept)

    @property
    def used(self) -> int:
        """What prompts are compared by: memory of the GPU, of the process without one."""
        return self.resident if self.reserved is None else self.reserved

    @property
    def others(self) -> int:
        """What is in use by no model, and is not kept for its next use."""
        return self.used - self.models - self.kept

    def moved(self, other: Reading) -> int:
        """By how much memory differs, in RAM or on the GPU, whichever is more."""
        on_gpu = abs((self.reserved or 0) - (other.reserved or 0))
        return max(abs(self.resident - other.resident), on_gpu)

    def left_since(self, before: Reading) -> float:
        """What is used more than ``before`` (less: negative) and by no model, as a part of 1."""
        return (self.others - before.others) / max(self.used, before.used, 1)


def loaded(place: Any) -> dict[int, Any]:
    """One of the host's patchers for each model that is loaded on a device."""
    entries = list(management().current_loaded_models)
    models = (entry.model for entry in entries if entry.device == place)
    return {id(model.model): model for model in models if model is not None}


def available(place: Any) -> int:
    """What can be had now on a device, as the host counts it, or in RAM."""
    return ram.available() if place.type == "cpu" else int(management().get_free_memory(place))


def total(place: Any) -> int:
    """All memory of a device."""
    return ram.whole() if place.type == "cpu" else int(management().get_total_memory(place))


def collect() -> None:
    """Give everything back that nobody uses: objects, the GPU's cache, free pages of the heap."""
    gc.collect()
    management().soft_empty_cache()
    trim = _trim()
    if trim is not None:
        trim(0)


def freeze() -> None:
    """Keep what was imported until now out of collecting, which is then ten times as fast."""
    gc.freeze()


def thaw() -> None:
    """Undo :func:`freeze`."""
    gc.unfreeze()


def collect_all() -> None:
    """As :func:`collect`, with what :func:`freeze` has kept out; some tenths of a second."""
    kept_out = gc.get_freeze_count() > 0
    thaw()
    collect()
    if kept_out:
        freeze()


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """``malloc_trim`` of glibc; other systems' allocators give memory back by themselves."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None

"""The host's modules as far as memory goes: devices, models, an executor with caches, a queue."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

MIB = 2**20
FAMILY = {"z_image_modulation": True}


@dataclass(frozen=True)
class Device:
    """A ``torch.device``."""

    type: str


CPU, GPU = Device("cpu"), Device("cuda")


@dataclass
class Weight:
    """A tensor: bytes somewhere."""

    nbytes: int
    device: Device


class Module:
    """A model's weights, in two halves."""

    def __init__(self, size: int, config: dict[str, Any]) -> None:
        self.weights = [Weight(size // 2, CPU), Weight(size - size // 2, CPU)]
        self.model_config = SimpleNamespace(unet_config=config)

    def parameters(self) -> list[Weight]:
        return self.weights

    def buffers(self) -> list[Weight]:
        return []


class Patcher:
    """A ``ModelPatcher``."""

    def __init__(self, size: int, place: Device = GPU, config: dict[str, Any] = FAMILY) -> None:
        self.model, self.load_device = Module(size, config), place

    def clone(self) -> Patcher:
        other = Patcher(0, self.load_device)
        other.model = self.model
        return other

    def is_clone(self, other: Any) -> bool:
        return self.model is other.model

    def model_size(self) -> int:
        return sum(weight.nbytes for weight in self.model.weights)

    def loaded_size(self) -> int:
        return sum(w.nbytes for w in self.model.weights if w.device == self.load_device)


class Host:
    """What is in ``sys.modules`` while it is used: torch, the host's memory and its executor.

    Args:
        place: where it computes.
        free: bytes of that device when nothing is loaded.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Device, free: int) -> None:
        self.place, self.free, self.sticky = place, free, False
        self.extra = 0  # bytes reserved by no model
        self.collected: list[str] = []
        self.asked: list[float] = []
        self.management = self._management()
        self.torch = self._torch()
        self.execution = ModuleType("execution")
        self.execution.PromptExecutor = type("PromptExecutor", (Executor,), dict(vars(Executor)))
        self.execution.PromptQueue = type("PromptQueue", (Queue,), dict(vars(Queue)))
        self.paths: dict[str, str] = {}
        find = SimpleNamespace(get_full_path=lambda kind, name: self.paths.get(name))
        for name, module in {
            "comfy.model_management": self.management, "torch": self.torch,
            "execution": self.execution, "folder_paths": find,
        }.items():  # fmt: skip
            monkeypatch.setitem(sys.modules, name, module)

    def _torch(self) -> Any:
        used = lambda _place: self.on_device() + self.extra  # noqa: E731 - one line of a fake
        cudnn = SimpleNamespace(benchmark=True)
        return SimpleNamespace(
            backends=SimpleNamespace(cudnn=cudnn), no_grad=contextlib.nullcontext,
            cuda=SimpleNamespace(memory_reserved=used),
        )  # fmt: skip

    def _management(self) -> Any:
        module = ModuleType("comfy.model_management")
        module.current_loaded_models = []
        module.get_torch_device = lambda: self.place
        module.get_free_memory = lambda _place: self.free - self.on_device()
        module.get_total_memory = lambda _place: self.free
        module.minimum_inference_memory = module.extra_reserved_memory = lambda: 0
        module.soft_empty_cache = lambda force=False: self.collected.append("cache")
        module.unload_all_models = lambda: module.free_memory(1e30, self.place)

        def load_models_gpu(models: Any, memory_required: float = 0, force: bool = False) -> Any:
            for model in models:
                for weight in model.model.weights:
                    weight.device = model.load_device
                entry = SimpleNamespace(model=model, device=model.load_device)
                module.current_loaded_models.insert(0, entry)
            return "loaded"

        module.load_models_gpu = load_models_gpu
        module.free_memory = self.free_memory
        return module

    def on_device(self) -> int:
        return sum(e.model.loaded_size() for e in self.management.current_loaded_models)

    def free_memory(self, required: float, place: Device, keep_loaded: Any = ()) -> None:
        """As the host's: half a model where that is enough. Nothing goes while it is sticky."""
        self.asked.append(required)
        for entry in list(self.management.current_loaded_models):
            if entry in keep_loaded or entry.device != place or self.sticky:
                continue
            for weight in entry.model.model.weights:
                if self.free - self.on_device() > required:
                    return
                weight.device = CPU
            self.management.current_loaded_models.remove(entry)


class Executor:
    """A ``PromptExecutor``: runs ``work``, and keeps what it is told to."""

    def __init__(self, server: Any = None) -> None:
        self.server = server or SimpleNamespace(client_id=None)
        self.work: Callable[[], Any] = lambda: None
        self.resets = 0
        self.reset()

    def reset(self) -> None:
        self.caches: list[Any] = []
        self.resets += 1

    def add_message(self, event: str, data: dict[str, Any], broadcast: bool) -> None:
        self.status_messages.append((event, data))

    def execute(
        self,
        prompt: Any,
        prompt_id: str,
        extra_data: Any = {},  # noqa: B006
        execute_outputs: Any = [],  # noqa: B006
    ) -> None:
        self.success, self.status_messages = True, []
        self.ran = (prompt_id, extra_data, execute_outputs)
        self.work()


class Queue:
    """A ``PromptQueue`` as far as somebody looks at it."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.task_counter = 0
        self.queue: list[Any] = []
        self.currently_running: dict[int, Any] = {}
        self.flags: dict[str, Any] = {}

    def get(self, timeout: float | None = None) -> Any:
        return self.queue.pop(0) if self.queue else None

    def set_flag(self, name: str, data: Any) -> None:
        self.flags[name] = data

"""Check before a prompt whether it can fit at all, and make room for it."""

from __future__ import annotations

import sys
from typing import Any

from ...errors import ZImageError
from ...errors.bilingual import Bilingual
from ..base import comfyui, ram
from ..base.graph import Graph
from ..base.handover import hand_over
from ..base.prompt_outcome import failure
from . import model_swap, readings
from .estimate import Needs, needs
from .precision import HostPrecision
from .sampling_jobs import Job, jobs

GIB = 2**30
RAM = Bilingual("内存", "RAM")
GPU = Bilingual("显存", "GPU memory")


class Admission:
    """Judges the graphs of a server, one after the other.

    Attributes:
        files: model files of the previous prompt.
        swaps: how often models had to leave RAM for others.
        incomplete: how often a model stayed nevertheless.
    """

    def __init__(self) -> None:
        self.files: set[tuple[str, ...]] = set()
        self.swaps = 0
        self.incomplete = 0

    def make_room(self, executor: Any, prompt: Graph) -> None:
        """Make room for a prompt, if this pack knows its graph.

        Raises:
            ZImageError: ``ZI-MEMORY`` for a prompt that can never fit; nothing was unloaded then.
        """
        known = list(jobs(prompt, size_of))
        if not known:
            return
        place = comfyui.device()
        on_cpu = place.type == "cpu"
        find = sys.modules["folder_paths"].get_full_path
        precision = HostPrecision()
        judged = [(job, need) for job in known if (need := needs(job, precision, find))]
        for job, need in judged:
            check(job, need, place)
        if not judged:
            return
        files = {(*job.files, job.dtype) for job, _ in judged}
        others = self.files and files != self.files
        if others and ram.available() < max(ram_of(need, on_cpu) for _, need in judged):
            self.swaps += 1
            if not model_swap.make_way_in_ram(executor):
                self.incomplete += 1
                hand_over(model_swap.STAYS)
        self.files = files
        if not on_cpu:  # where unloading a model would return nothing
            comfyui.memory_management().free_memory(
                max(need.all_branches for _, need in judged), place
            )


def size_of(name: Any) -> tuple[int, int] | None:
    """Return width and height of a picture that ``LoadImage`` opens, from its header."""
    try:
        path = sys.modules["folder_paths"].get_annotated_filepath(name)
        with sys.modules["PIL.Image"].open(path) as picture:
            return picture.size
    except Exception:  # noqa: BLE001 - the node reports it
        return None


def check(job: Job, need: Needs, place: Any) -> None:
    """Check that a job could run here with nothing else loaded.

    Weights need not be on the GPU: the host loads those that do not fit from RAM step by step.

    Raises:
        ZImageError: ``ZI-MEMORY``.
    """
    on_cpu = place.type == "cpu"
    on_gpu = 0 if on_cpu else readings.total(place)
    if not on_cpu and need.one_branch > on_gpu:
        raise _never_fits(job, need.one_branch, on_gpu, GPU)
    if ram_of(need, on_cpu) > ram.whole() + on_gpu:
        raise _never_fits(job, ram_of(need, on_cpu), ram.whole() + on_gpu, RAM)


def ram_of(need: Needs, on_cpu: bool) -> int:
    """Return the bytes of RAM that a job takes; it makes pictures after the transformer ran."""
    return need.weights + max(need.pictures, need.one_branch if on_cpu else 0)


def _never_fits(job: Job, needed: int, total: int, kind: Bilingual) -> ZImageError:
    sizes = {"found": f"{needed / GIB:.1f}", "expected": f"{total / GIB:.1f}"}
    return ZImageError("ZI-MEMORY", node=job.node, kind=kind, **sizes)


def refuse(
    executor: Any, prompt: Graph, prompt_id: str, extra_data: Any, error: ZImageError
) -> None:
    """End a prompt as failed at a node, as the host's executor does."""
    executor.server.client_id = extra_data.get("client_id")
    executor.status_messages, executor.success = [], False
    executor.history_result = {"outputs": {}, "meta": {}}
    node = str(error.found["node"])
    place = {"node_id": node, "node_type": prompt[node]["class_type"]}
    for event, data in failure(prompt_id, error).messages:
        if event == "execution_error":
            data |= place
        executor.add_message(event, data, broadcast=False)

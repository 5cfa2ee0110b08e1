"""Before a prompt: can it ever fit, and is there room now?"""

from __future__ import annotations

import sys
from typing import Any

from ...errors import ZImageError
from ..queue import worker_thread
from ..queue.prompt_events import failure
from . import model_swap, ram, readings
from .estimate import Needs, needs
from .precision import HostPrecision
from .sampling_jobs import Graph, Job, jobs

GIB = 2**30
RAM, GPU = ("内存", "RAM"), ("显存", "GPU memory")


class Reserve:
    """Looks at the graphs of a server, one after the other.

    Attributes:
        swaps: how often models had to leave RAM for others.
        incomplete: how often one of them stayed all the same.
    """

    def __init__(self) -> None:
        self.files: set[tuple[str, ...]] = set()
        self.swaps = self.incomplete = 0

    def make_room(self, executor: Any, prompt: Graph) -> None:
        """Make room for a prompt; does nothing for a graph that is not known.

        Raises:
            ZImageError: ``ZI-MEMORY`` for what can never fit; nothing was unloaded then.
        """
        known = list(jobs(prompt, size_of))
        if not known:
            return
        place = readings.device()
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
                worker_thread.leave(model_swap.STAYS)
        self.files = files
        if not on_cpu:  # there, unloading a model gives nothing back
            readings.management().free_memory(max(need.room for _, need in judged), place)


def size_of(name: Any) -> tuple[int, int] | None:
    """Width and height of a picture that ``LoadImage`` opens, by its header alone."""
    try:
        path = sys.modules["folder_paths"].get_annotated_filepath(name)
        with sys.modules["PIL.Image"].open(path) as picture:
            return picture.size
    except Exception:  # noqa: BLE001 - the node tells what is wrong with it
        return None


def check(job: Job, need: Needs, place: Any) -> None:
    """Whether a job could run here with nothing else loaded.

    Weights need not be on the GPU: the host brings those that do not fit from RAM as it goes.

    Raises:
        ZImageError: ``ZI-MEMORY``.
    """
    on_cpu = place.type == "cpu"
    on_gpu = 0 if on_cpu else readings.total(place)
    if not on_cpu and need.working > on_gpu:
        raise _never(job, need.working, on_gpu, GPU)
    if ram_of(need, on_cpu) > ram.whole() + on_gpu:
        raise _never(job, ram_of(need, on_cpu), ram.whole() + on_gpu, RAM)


def ram_of(need: Needs, on_cpu: bool) -> int:
    """Bytes of RAM that a job takes; its pictures come when the transformer has done its work."""
    return need.weights + max(need.pictures, need.working if on_cpu else 0)


def _never(job: Job, needed: int, there: int, kind: tuple[str, str]) -> ZImageError:
    sizes = {"found": f"{needed / GIB:.1f}", "expected": f"{there / GIB:.1f}"}
    return ZImageError("ZI-MEMORY", node=job.node, zh=kind[0], en=kind[1], **sizes)


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

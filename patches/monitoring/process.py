"""Measurements of this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import psutil

from ..base import ram
from .families import Family


def gpu_reserved() -> int:
    """Return the bytes that this process holds on its GPU, 0 without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return torch.cuda.memory_reserved()


def gpu_total() -> int:
    """Return the bytes of the GPU that this process uses, 0 without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory


def families() -> Iterator[Family]:
    """Yield the metrics of this process."""
    process = psutil.Process()
    yield Family.of(
        "resident_memory_bytes", "gauge", "Memory of this process in RAM.", ram.resident()
    )
    yield Family.of(
        "gpu_memory_reserved_bytes",
        "gauge",
        "Memory that this process holds on its GPU, 0 without one.",
        gpu_reserved(),
    )
    yield Family.of(
        "open_file_descriptors",
        "gauge",
        "File descriptors that this process has open.",
        process.num_fds(),
    )
    yield Family.of("threads", "gauge", "Threads of this process.", process.num_threads())

"""Finds GPUs by the driver, not torch: milliseconds instead of seconds."""

from __future__ import annotations

import ctypes
from pathlib import Path

NEEDED_CUDA = 13000
"""The CUDA version (1000 * major + 10 * minor) that the embedded host's torch is built for."""


def cuda() -> tuple[int, int]:
    """Return the number of CUDA devices and the driver's CUDA version (13000 is 13.0), or zeros."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0, 0
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0, 0
    driver.cuDriverGetVersion(ctypes.byref(version))
    return count.value, version.value


def usable(embedded: bool) -> bool:
    """Return whether the host can run on a GPU.

    Args:
        embedded: the embedded host's torch needs a CUDA 13 driver; somebody's own host may have
            another build, so there any CUDA or ROCm device counts.
    """
    count, version = cuda()
    if embedded:
        return count > 0 and version >= NEEDED_CUDA
    return count > 0 or Path("/dev/kfd").exists()

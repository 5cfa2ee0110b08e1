"""The environment of a confined process: only variables that are known to be harmless pass.

The environment of the start stays readable in ``/proc/self/environ`` and in memory, also after a
fork. So the template already has to be started with a scrubbed environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from .report import Outcome

# Programs, libraries, language and time; how many threads compute, and where.
_PASSED = """
    PATH LD_LIBRARY_PATH LANG LANGUAGE TZ PYTHONDONTWRITEBYTECODE PYTHONHASHSEED
    OMP_NUM_THREADS OMP_THREAD_LIMIT OMP_DYNAMIC OMP_WAIT_POLICY OMP_PROC_BIND OMP_PLACES
    GOMP_SPINCOUNT GOMP_CPU_AFFINITY KMP_AFFINITY KMP_BLOCKTIME MKL_NUM_THREADS MKL_DYNAMIC
    OPENBLAS_NUM_THREADS BLIS_NUM_THREADS VECLIB_MAXIMUM_THREADS NUMEXPR_NUM_THREADS
    NUMEXPR_MAX_THREADS NUMBA_NUM_THREADS TOKENIZERS_PARALLELISM MALLOC_ARENA_MAX
    GLIBC_TUNABLES
"""
_PASSED_FOR_GPU = """
    CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER CUDA_MODULE_LOADING CUDA_LAUNCH_BLOCKING
    NVIDIA_VISIBLE_DEVICES NVIDIA_DRIVER_CAPABILITIES PYTORCH_ALLOC_CONF PYTORCH_CUDA_ALLOC_CONF
    HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES HSA_OVERRIDE_GFX_VERSION
"""
_IN_HOME = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "MPLCONFIGDIR": ".config/matplotlib",
    "HF_HOME": ".cache/huggingface",
    "TORCH_HOME": ".cache/torch",
    "TORCH_EXTENSIONS_DIR": ".cache/torch_extensions",
    "TORCHINDUCTOR_CACHE_DIR": ".cache/torchinductor",
    "TRITON_CACHE_DIR": ".cache/triton",
    "NUMBA_CACHE_DIR": ".cache/numba",
    "CUDA_CACHE_PATH": ".cache/nv",
}
_IN_TEMP = ("TMPDIR", "TMP", "TEMP", "XDG_RUNTIME_DIR")
# /etc/passwd is not readable; programs that need the user's name read these first.
_NAMES = {"USER": "sandbox", "LOGNAME": "sandbox"}


def scrub(environ: Mapping[str, str], home: str, temp: str, gpu: bool = False) -> dict[str, str]:
    """Return a clean environment, with caches and temporary files in the process's own folders.

    Args:
        environ: the present one.
        home: a writable folder; nothing is created in it here.
        temp: likewise.
        gpu: whether variables that choose and configure GPUs pass.
    """
    clean = {name: value for name, value in environ.items() if _passes(name, gpu)}
    clean.setdefault("PATH", os.defpath)
    if not any(name in clean for name in ("LANG", "LC_ALL", "LC_CTYPE")):
        clean["LANG"] = "C.UTF-8"
    clean.update(_NAMES)
    clean["HOME"] = home
    clean.update({name: os.path.join(home, folder) for name, folder in _IN_HOME.items()})
    clean.update(dict.fromkeys(_IN_TEMP, temp))
    return clean


def initial() -> Outcome:
    """Return whether the process was started without variables that :func:`scrub` removes."""
    gap = "what the process was started with is readable to it"
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError as error:
        return Outcome("failed", f"/proc/self/environ: {error.strerror}", (gap,))
    names = {os.fsdecode(entry.partition(b"=")[0]) for entry in entries if entry}
    others = sorted(_foreign(names))
    if others:
        return Outcome("failed", f"started with {', '.join(others[:5])}", (gap,))
    return Outcome("applied", "started with a clean environment")


def _passes(name: str, gpu: bool) -> bool:
    names = _PASSED.split() + (_PASSED_FOR_GPU.split() if gpu else [])
    return name in names or name.startswith("LC_")


def _foreign(names: Iterable[str]) -> set[str]:
    # bubblewrap sets PWD.
    ours = {"HOME", "PWD", *_IN_HOME, *_IN_TEMP, *_NAMES}
    return {name for name in names if name not in ours and not _passes(name, gpu=True)}

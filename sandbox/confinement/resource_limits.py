"""Resource limits of the process, soft and hard: without capabilities it cannot raise them.

``RLIMIT_NPROC`` is not set. It counts all processes of a user and exempts root, so it would stop
this process because of the user's other processes, and would have no effect in a container. The
host has to count the tasks.
"""

from __future__ import annotations

import os

from .jail import Jail
from .report import Outcome, failure

try:  # at the top, so that a template imports it before it forks
    import resource
except ImportError:  # Windows
    resource = None

_UNLIMITED = "memory is limited by nothing"


def apply(jail: Jail) -> Outcome:
    """Set the limits for the calling process and what it starts."""
    if resource is None:
        return Outcome("unavailable", "this system has none", (_UNLIMITED,))
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: jail.files,
        resource.RLIMIT_FSIZE: jail.file_size or resource.RLIM_INFINITY,
    }
    # No real-time scheduling and no queues in the kernel; some systems grant them to users.
    for name in ("RLIMIT_RTPRIO", "RLIMIT_NICE", "RLIMIT_MSGQUEUE"):
        if hasattr(resource, name):
            wanted[getattr(resource, name)] = 0
    gaps = [] if jail.file_size else ["files can fill the disk"]
    try:
        if jail.memory:
            address_space, data = _current_bytes()
            wanted[resource.RLIMIT_DATA] = data + jail.memory
            if not jail.gpu:
                wanted[resource.RLIMIT_AS] = address_space + jail.memory
        for kind, value in wanted.items():
            _lower(kind, value)
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else OSError(22, str(error))
        return failure(reason, "setrlimit", _UNLIMITED)
    if not jail.memory:
        gaps.append(_UNLIMITED)
    elif jail.gpu:
        gaps.append("memory shared between processes, and of the GPU, is not limited")
    return Outcome("applied", f"{len(wanted)} limits", tuple(gaps))


def tasks(jail: Jail) -> Outcome:
    """Return the outcome for the limit of tasks, which only the host can enforce."""
    return Outcome(
        "unavailable",
        "the kernel's limit spares root and counts all processes of a user",
        (f"more than {jail.tasks} tasks are not prevented, only seen from outside",),
    )


def _current_bytes() -> tuple[int, int]:
    """Return the bytes of address space and of private writable memory."""
    sizes = {}
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("VmSize", "VmData"):
                sizes[name] = int(value.split()[0]) * 1024
    if len(sizes) != 2:
        raise OSError(38, os.strerror(38), "/proc/self/status")
    return sizes["VmSize"], sizes["VmData"]


def _lower(kind: int, value: int) -> None:
    """Set a limit to ``value``, unless it is lower already."""
    assert resource is not None  # noqa: S101  the caller has checked
    hard = resource.getrlimit(kind)[1]
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited:
        value = hard if value == unlimited else min(value, hard)
    resource.setrlimit(kind, (value, value))

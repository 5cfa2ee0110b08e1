"""Resource limits of the process. Each is soft and hard: without capabilities none goes up again.

``RLIMIT_NPROC`` is left alone. It counts all processes of a user and spares root, so it would stop
this process when others of the same user are many, and stop nothing in a container. How many tasks
there are has to be watched from outside.
"""

from __future__ import annotations

import os

from .jail import Jail
from .report import Outcome, failure

try:  # here, so that a template has it before it forks
    import resource
except ImportError:  # Windows
    resource = None

_ENDLESS = "memory is limited by nothing"


def apply(jail: Jail) -> Outcome:
    """Set them for the calling process and what it starts."""
    if resource is None:
        return Outcome("unavailable", "this system has none", (_ENDLESS,))
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: jail.files,
        resource.RLIMIT_FSIZE: jail.file_size or resource.RLIM_INFINITY,
    }
    # Neither real-time scheduling nor queues in the kernel; some systems grant them to users.
    for name in ("RLIMIT_RTPRIO", "RLIMIT_NICE", "RLIMIT_MSGQUEUE"):
        if hasattr(resource, name):
            wanted[getattr(resource, name)] = 0
    gaps = [] if jail.file_size else ["files can fill the disk"]
    try:
        if jail.memory:
            everything, data = _present()
            wanted[resource.RLIMIT_DATA] = data + jail.memory
            if not jail.gpu:
                wanted[resource.RLIMIT_AS] = everything + jail.memory
        for kind, value in wanted.items():
            _lower(kind, value)
    except (OSError, ValueError) as error:
        reason = error if isinstance(error, OSError) else OSError(22, str(error))
        return failure(reason, "setrlimit", _ENDLESS)
    if not jail.memory:
        gaps.append(_ENDLESS)
    elif jail.gpu:
        gaps.append("memory shared between processes, and of the GPU, is not limited")
    return Outcome("applied", f"{len(wanted)} limits", tuple(gaps))


def tasks(jail: Jail) -> Outcome:
    """Says that a limit was asked for which nothing here enforces."""
    return Outcome(
        "unavailable",
        "the kernel's limit spares root and counts all processes of a user",
        (f"more than {jail.tasks} tasks are not prevented, only seen from outside",),
    )


def _present() -> tuple[int, int]:
    """Bytes of address space and of private writable memory, as the kernel counts them."""
    found = {}
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("VmSize", "VmData"):
                found[name] = int(value.split()[0]) * 1024
    if len(found) != 2:
        raise OSError(38, os.strerror(38), "/proc/self/status")
    return found["VmSize"], found["VmData"]


def _lower(kind: int, value: int) -> None:
    """To ``value``, or what the limit is already if that is less."""
    assert resource is not None  # noqa: S101  the caller has looked
    hard = resource.getrlimit(kind)[1]
    endless = resource.RLIM_INFINITY
    if hard != endless:
        value = hard if value == endless else min(value, hard)
    resource.setrlimit(kind, (value, value))

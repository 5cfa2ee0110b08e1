"""The grants of a confined process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Jail:
    """Everything that is granted; anything else is denied.

    Attributes:
        read: files or folders that may be read; libraries in them may be loaded.
        write: folders in which everything may be created, changed and removed.
        create: folders in which files may be created, written and read, but nothing may be removed
            or moved away.
        network: may connect to anything, this machine included; it never accepts connections.
        gpu: the devices of the GPU, and anonymous files, which its libraries need.
        processes: may start programs, which have the same confinement.
        memory: bytes that may be allocated in addition to the present ones; 0 for no limit. Without
            a GPU this limits the address space too, so mapped model files count.
        files: descriptors.
        file_size: bytes in one file; 0 for no limit.
        tasks: threads and processes; the host counts them, see :mod:`.resource_limits`.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    network: bool = False
    gpu: bool = False
    processes: bool = False
    memory: int = 0
    files: int = 1024
    file_size: int = 0
    tasks: int = 0

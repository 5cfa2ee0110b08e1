"""What a confined process is granted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Jail:
    """Everything that is granted; all else is denied.

    Attributes:
        read: files or folders that may be read; libraries in them may be loaded.
        write: folders in which everything may be made, changed and removed.
        create: folders in which files may be made, written and read, but nothing may be removed or
            moved away.
        network: may connect to anything, this machine included; it never accepts connections.
        gpu: the devices of the GPU, and anonymous files, which its libraries need.
        processes: may start programs, which are confined like it.
        memory: bytes that may be taken on top of what the process has; 0 for no limit. Without a
            GPU this bounds the address space too, so the mapped model files count.
        files: descriptors.
        file_size: bytes in one file; 0 for no limit.
        tasks: threads and processes; counted by whoever watches the process, see :mod:`.limits`.
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

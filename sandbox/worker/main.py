"""The template: a process that has imported ComfyUI, and forks a worker when the host asks for it.

It is started by file: ``python -I main.py FD COMFYUI [ARGUMENT …]``. Over the socket ``FD`` it
receives requests and reports which process it forked and how each ended (``template_control``). It
is the parent of all workers: they end with it, and their orphans become its children, which it
kills. It notices the end of the host, whatever the cause, and then ends all workers first.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
ALIAS = "zimage_sandbox"
WORKERS = (
    "confinement",
    "protocol.messages",
    "protocol.codec",
    "protocol.tensor_transfer",
    "protocol.operations",
    "worker.worker",
    "worker.describe",
    "worker.comfy_environment",
    "worker.progress",
    "worker.remote_objects",
    "worker.host_functions",
    "worker.lifted_objects",
    "worker.http_handlers",
    "worker.start",
)
"""Modules of the folder ``sandbox`` that every worker needs; imported once, before any fork."""


def main(argv: list[str]) -> None:
    """Import ComfyUI, report ready, then fork on request until the host hangs up."""
    control = socket.socket(fileno=int(argv[1]))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_NAME, b"zimage-template", 0, 0, 0)
    load_package()
    import_comfyui(argv[2], argv[3:])
    fork_server = importlib.import_module(f"{ALIAS}.worker.fork_server")
    start = importlib.import_module(f"{ALIAS}.worker.start").start
    gc.collect()
    gc.freeze()  # the collector would write into pages that workers share
    host = watch_host(libc)
    control.send(fork_server.REPLY.pack(b"r", 0, _threads()))
    fork_server.ForkServer(control, libc, host, start).run()


def watch_host(libc: Any) -> int:
    """Return a pidfd of the host, which is readable when the host has ended.

    Until now the kernel killed this process together with the host. From now on there are workers,
    and their children, to end before that.
    """
    pidfd = os.pidfd_open(os.getppid())
    libc.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
    return pidfd


def load_package() -> None:
    """Make the folder ``sandbox`` importable by name, wherever it is."""
    here = Path(__file__).resolve().parent.parent
    spec = importlib.util.spec_from_file_location(
        ALIAS, here / "__init__.py", submodule_search_locations=[str(here)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(ALIAS)
    package = importlib.util.module_from_spec(spec)
    sys.modules[ALIAS] = package
    spec.loader.exec_module(package)


def import_comfyui(folder: str, arguments: list[str]) -> None:
    """Import ComfyUI and the modules of a worker, once for all workers."""
    sys.path.insert(0, folder)
    os.chdir(folder)
    sys.argv = [os.path.join(folder, "main.py"), *arguments]
    import comfy.options

    comfy.options.enable_args_parsing()
    # In the order of main.py: nodes puts the folder comfy, with its own utils, on the path.
    for name in ("folder_paths", "utils.extra_config", "comfy.utils", "execution", "server"):
        importlib.import_module(name)
    import asyncio

    nodes: Any = importlib.import_module("nodes")
    asyncio.run(nodes.init_builtin_extra_nodes())
    for name in WORKERS:
        importlib.import_module(f"{ALIAS}.{name}")


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


if __name__ == "__main__":
    main(sys.argv)

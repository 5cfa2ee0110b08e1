"""A process that has imported ComfyUI and forks a worker whenever the host wants one.

Started by file, ``python -I template.py FD COMFYUI [ARGUMENT …]``. Over the socket ``FD`` it gets
requests with three descriptors each (frames, descriptors, log) and says which process it has made
and how each ended. It is the parent of all workers: they die with it, and what they leave behind
becomes its child and is ended by it. However the host ends, this sees it and ends them all first.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib.util
import os
import selectors
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NAME = 1, 36, 15
ALIAS = "zimage_sandbox"
MOST_GENERATIONS = 10_000
"""Of processes that were left behind: each is the child of one before it."""
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
"""What every worker needs of the folder ``sandbox``."""
REQUEST = struct.Struct("<Q")
REPLY = struct.Struct("<cQq")
"""Kind (``r``: ready; ``s``: started, from the worker itself; ``e``: ended), token, status of wait.

Which process has started the host reads from the message's credentials: in a namespace of its own
a process does not know what others call it.
"""


def main(argv: list[str]) -> None:
    """Import, say that it is ready, then fork on request until the host hangs up."""
    control = socket.socket(fileno=int(argv[1]))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_NAME, b"zimage-template", 0, 0, 0)
    load_package()
    import_comfyui(argv[2], argv[3:])
    gc.collect()
    gc.freeze()  # the collector would write into pages that workers share
    host = watch_host(libc)
    control.send(REPLY.pack(b"r", 0, _threads()))
    Template(control, libc, host).run()


def watch_host(libc: Any) -> int:
    """A descriptor that becomes readable when the host has ended; until there is one, its end is
    this process's. From now on there are workers, and what those start, to be ended before."""
    found = os.pidfd_open(os.getppid())
    libc.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
    return found


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
    """What packs import most, once for all of them."""
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


class Template:
    """The loop: the host, its socket, and a descriptor for each worker, readable when it ends."""

    def __init__(self, control: socket.socket, libc: Any, host: int) -> None:
        self.control, self.libc, self.host = control, libc, host
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ, self._request)
        self.selector.register(host, selectors.EVENT_READ, self._finish)
        self.workers: dict[int, tuple[int, int]] = {}

    def run(self) -> None:
        """Until the host hangs up or ends, or this fails; then everything ends."""
        try:
            while True:
                for key, _ in self.selector.select():
                    key.data()
        except BaseException:  # noqa: BLE001  an answer that nobody hears any more, for example
            traceback.print_exc()
        finally:
            self._finish()

    def _request(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self.control, REQUEST.size, 3)
        except OSError:
            data, fds = b"", []
        if len(data) != REQUEST.size or len(fds) != 3:
            self._finish()
        (token,) = REQUEST.unpack(data)
        pid = os.fork()
        if not pid:
            self._become(token, fds)
        for fd in fds:
            os.close(fd)
        watch = os.pidfd_open(pid)
        self.workers[pid] = (token, watch)
        self.selector.register(watch, selectors.EVENT_READ, functools.partial(self._ended, pid))

    def _finish(self) -> NoReturn:
        """End and reap whatever is below this process, then this."""
        for pid in self.workers:
            _kill(pid)
        self.workers.clear()
        self._orphans()
        os._exit(0)

    def _become(self, token: int, fds: list[int]) -> None:
        """In the new process: nothing of the template is left but what it has imported."""
        code = 1
        try:
            self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what it starts stays its own
            os.setsid()
            self.selector.close()
            self.control.send(REPLY.pack(b"s", token, 0))
            self.control.close()
            os.close(self.host)
            for _, watch in self.workers.values():
                os.close(watch)
            os.dup2(fds[2], 1)
            os.dup2(fds[2], 2)
            os.close(fds[2])
            from zimage_sandbox.worker.start import start

            start(fds[0], fds[1])
            code = 0
        except BaseException:  # noqa: BLE001  nothing may run on in a copy of the template
            traceback.print_exc()
        finally:
            os._exit(code)

    def _ended(self, pid: int) -> None:
        token, watch = self.workers.pop(pid)
        self.selector.unregister(watch)
        os.close(watch)
        _kill(pid)  # its group, which has the number only until it is reaped
        _, status = os.waitpid(pid, 0)
        self._orphans()
        self.control.send(REPLY.pack(b"e", token, status))

    def _orphans(self) -> None:
        """End and reap what a worker has left behind, and what that leaves behind."""
        for _ in range(MOST_GENERATIONS):
            left = [pid for pid in _children() if pid not in self.workers]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


def _kill(worker: int) -> None:
    """End a worker and its group: no fork of what may not leave that is too quick for it."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(worker, signal.SIGKILL)


def _children() -> list[int]:
    own = os.getpid()
    try:
        text = Path(f"/proc/{own}/task/{own}/children").read_text()
    except OSError:
        return []
    return [int(one) for one in text.split()]


if __name__ == "__main__":
    main(sys.argv)

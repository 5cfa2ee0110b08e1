"""The pack in a worker of comfy-env, for ``sandbox``.

Its public interface ``register_nodes`` needs a conda environment, so the worker that it starts is
used directly, with this Python. Functions are called instead of methods of nodes, which is faster,
because the state of a node is sent in both directions. The worker has no sandbox.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from _sandbox_measure import UnsupportedError, serve

FOLDER = Path(__file__).parent / "_sandbox"


class ComfyEnv:
    """A worker outside of ComfyUI, which is its fastest configuration."""

    def __init__(self) -> None:
        self.worker: Any = None

    async def start(self) -> None:
        """Start a worker and have it import the pack."""
        from comfy_env.isolation.workers.subprocess import SubprocessWorker

        self.worker = SubprocessWorker(
            python=sys.executable,
            working_dir=str(FOLDER),
            sys_path=[str(FOLDER)],
            name="bench",
        )
        await self.echo(1)

    async def stop(self) -> None:
        """End the child."""
        if self.worker is not None:
            self.worker.shutdown()
            self.worker = None

    def pid(self) -> int:
        """Return the process id of the child."""
        return self.worker._process.pid

    def _run(self, function: str, **arguments: Any) -> Any:
        return self.worker.call_module("pack", function, **arguments)

    async def echo(self, value: int) -> Any:
        """See :class:`_sandbox_measure.Contender`."""
        return self._run("echo", value=value)

    async def first(self, tensor: Any) -> float:
        """See :class:`_sandbox_measure.Contender`."""
        return self._run("first", tensor=tensor)

    async def add(self, tensor: Any) -> Any:
        """See :class:`_sandbox_measure.Contender`."""
        return self._run("add", tensor=tensor)

    async def die(self) -> None:
        """See :class:`_sandbox_measure.Contender`."""
        self._run("die")

    async def ask(self, count: int) -> None:
        """Raise: the only call to the host is ComfyUI's progress, which needs a slower worker."""
        raise UnsupportedError("progress only")

    async def serve(self, count: int) -> float:
        """Raise: a worker that waits for its host cannot run functions of the pack."""
        raise UnsupportedError("no calls into a waiting worker")


if __name__ == "__main__":
    serve(ComfyEnv())

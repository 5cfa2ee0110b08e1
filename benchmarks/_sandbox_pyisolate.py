"""The pack as an extension of pyisolate, for ``sandbox``, without its sandbox (bubblewrap)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from _sandbox_measure import serve

FOLDER = Path(__file__).parent / "_sandbox"
sys.path.insert(0, str(FOLDER / "extension"))


class PyIsolate:
    """An extension that shares torch, which is its fastest configuration for tensors."""

    def __init__(self) -> None:
        self.extension: Any = None

    async def start(self) -> None:
        """Start the extension; the first call also creates its environment."""
        import bench_extension
        import pyisolate

        home = Path(sys.prefix).parent / "pyisolate"
        self.manager = pyisolate.ExtensionManager(
            bench_extension.Extension, pyisolate.ExtensionManagerConfig(venv_root_path=str(home))
        )
        config: Any = {
            "name": "bench",
            "module_path": str(FOLDER / "pack"),
            "isolated": True,
            "dependencies": [],
            "apis": [bench_extension.Host],
            "share_torch": True,
            "share_cuda_ipc": False,
            "sandbox_mode": pyisolate.SandboxMode.DISABLED,
        }
        self.extension = self.manager.load_extension(config)
        await self.extension.echo(1)
        bench_extension.Host().extension = self.extension

    async def stop(self) -> None:
        """Stop the child."""
        if self.extension is not None:
            self.manager.stop_all_extensions()
            self.extension = None

    def pid(self) -> int:
        """Return the process id of the child."""
        return self.extension.proc.pid

    async def echo(self, value: int) -> Any:
        """See :class:`_sandbox_measure.Contender`."""
        return await self.extension.echo(value)

    async def first(self, tensor: Any) -> float:
        """See :class:`_sandbox_measure.Contender`."""
        return await self.extension.first(tensor)

    async def add(self, tensor: Any) -> Any:
        """See :class:`_sandbox_measure.Contender`."""
        return await self.extension.add(tensor)

    async def die(self) -> None:
        """See :class:`_sandbox_measure.Contender`."""
        await self.extension.die()

    async def ask(self, count: int) -> None:
        """See :class:`_sandbox_measure.Contender`."""
        await self.extension.ask(count)

    async def serve(self, count: int) -> float:
        """See :class:`_sandbox_measure.Contender`."""
        return await self.extension.serve(count)


if __name__ == "__main__":
    serve(PyIsolate())

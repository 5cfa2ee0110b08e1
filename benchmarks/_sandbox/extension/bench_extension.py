"""The pack as an extension of pyisolate, imported on both sides."""

from __future__ import annotations

import time
from typing import Any

import pyisolate


class Host(pyisolate.ProxiedSingleton):
    """What the host offers: an answer, and calls of the extension."""

    extension: Any = None

    async def answer(self) -> int:
        """A question's whole work."""
        return 1

    async def call(self, count: int) -> float:
        """Seconds of one call of the extension, made while it waits for this answer."""
        began = time.perf_counter()
        for index in range(count):
            await self.extension.echo(index)
        return (time.perf_counter() - began) / count


class Extension(pyisolate.ExtensionBase):
    """Every function of the pack as a method."""

    async def on_module_loaded(self, module: Any) -> None:
        """The pack is imported."""
        self.module = module

    async def echo(self, value: Any) -> Any:
        """What came."""
        return self.module.echo(value)

    async def first(self, tensor: Any) -> float:
        """One element."""
        return self.module.first(tensor)

    async def add(self, tensor: Any) -> Any:
        """A new tensor of the same size."""
        return self.module.add(tensor)

    async def die(self) -> None:
        """Ends with SIGSEGV."""
        self.module.die()

    async def ask(self, count: int) -> None:
        """Ask the host so many times."""
        host: Any = Host()
        for _ in range(count):
            await host.answer()

    async def serve(self, count: int) -> float:
        """Have the host call back so many times."""
        host: Any = Host()
        return await host.call(count)

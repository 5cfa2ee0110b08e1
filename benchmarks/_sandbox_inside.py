"""The pack in the caller's own process, for ``sandbox``."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

from _sandbox_measure import UnsupportedError, serve


class Inside:
    """Plain calls."""

    async def start(self) -> None:
        """Import the pack."""
        path = Path(__file__).parent / "_sandbox" / "pack" / "__init__.py"
        spec = importlib.util.spec_from_file_location("pack", path)
        assert spec is not None
        assert spec.loader is not None
        self.pack: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.pack)

    async def stop(self) -> None:
        """Do nothing: there is no child."""

    def pid(self) -> int:
        """Raise: there is no child."""
        raise UnsupportedError("no process of its own")

    async def echo(self, value: int) -> Any:
        """See :class:`_sandbox_measure.Contender`."""
        return self.pack.echo(value)

    async def first(self, tensor: Any) -> float:
        """See :class:`_sandbox_measure.Contender`."""
        return self.pack.first(tensor)

    async def add(self, tensor: Any) -> Any:
        """See :class:`_sandbox_measure.Contender`."""
        return self.pack.add(tensor)

    async def die(self) -> None:
        """Raise: the caller would die."""
        raise UnsupportedError("takes the caller with it")

    async def ask(self, count: int) -> None:
        """See :class:`_sandbox_measure.Contender`."""
        self.pack.ask(self, count)

    async def serve(self, count: int) -> float:
        """See :class:`_sandbox_measure.Contender`."""
        self.pack.serve(self, count)
        return self.seconds_per_call

    def get_node(self, what: str, function: Any = None, count: int = 0) -> int:
        """Answer the pack, or call its function ``count`` times."""
        if what == "call":
            began = time.perf_counter()
            for index in range(count):
                function(index)
            self.seconds_per_call = (time.perf_counter() - began) / count
        return 1


if __name__ == "__main__":
    serve(Inside())

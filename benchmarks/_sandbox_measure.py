"""The measurements of ``sandbox``, in the host process of a contender.

A process reads the name of a measurement and a count from each line of its standard input, and
writes a JSON document for it. Tensors are created before a measurement starts.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

MIB = 2**20
WARM_CALLS = 3


class UnsupportedError(Exception):
    """A contender does not support a measurement."""


class Contender(Protocol):
    """A way to call a pack's functions."""

    async def start(self) -> None:
        """Start the child, if there is one, have it import the pack, and wait for a response."""

    async def stop(self) -> None:
        """Stop the child."""

    def pid(self) -> int:
        """Return the process id of the child."""
        ...

    async def echo(self, value: int) -> Any:
        """Return the value."""

    async def first(self, tensor: Any) -> float:
        """Return an element of a tensor."""
        ...

    async def add(self, tensor: Any) -> Any:
        """Return the tensor plus 1, in new memory."""

    async def die(self) -> None:
        """Kill the child by SIGSEGV; raise once its death is known."""

    async def ask(self, count: int) -> None:
        """Have the pack call the host ``count`` times, in one call of the pack."""

    async def serve(self, count: int) -> float:
        """Return seconds per call of the pack's function by the host, within a call of the pack."""
        ...


async def _echo(contender: Contender, count: int) -> list[float]:
    return await _timed(count, lambda: 7, contender.echo, warm=100)


async def _reused(contender: Contender, count: int) -> list[float]:
    """Measure calls with the same tensor, changed in place, so that a cached copy is detected."""
    import torch

    tensor = torch.zeros(192 * MIB // 4)
    seconds = []
    for index in range(count + WARM_CALLS):
        tensor[0] = index
        began = time.perf_counter()
        value = await contender.first(tensor)
        seconds.append(time.perf_counter() - began)
        if value != index:
            raise AssertionError(f"read {value}, expected {index}")
    return seconds[WARM_CALLS:]


async def _fresh48(contender: Contender, count: int) -> list[float]:
    return await _fresh(contender, count, 48 * MIB)


async def _fresh192(contender: Contender, count: int) -> list[float]:
    return await _fresh(contender, count, 192 * MIB)


async def _fresh(contender: Contender, count: int, size: int) -> list[float]:
    import torch

    values = iter(range(count + WARM_CALLS))
    return await _timed(count, lambda: torch.full((size // 4,), float(next(values))), contender.add)


async def _kept48(contender: Contender, count: int) -> list[float]:
    """Measure like fresh48, with references to all results, so that no memory can be reused."""
    import torch

    results = []

    async def call(tensor: Any) -> None:
        results.append(await contender.add(tensor))

    return await _timed(count, lambda: torch.full((48 * MIB // 4,), 1.0), call)


async def _timed(
    count: int,
    make: Callable[[], Any],
    call: Callable[[Any], Awaitable[Any]],
    warm: int = WARM_CALLS,
) -> list[float]:
    seconds = []
    for _ in range(count + warm):
        value = make()
        began = time.perf_counter()
        result = await call(value)
        seconds.append(time.perf_counter() - began)
        del result, value
    return seconds[warm:]


async def _start(contender: Contender, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        await contender.stop()
        began = time.perf_counter()
        await contender.start()
        seconds.append(time.perf_counter() - began)
    return seconds


async def _view(contender: Contender, count: int) -> list[float]:
    """Measure like _start, with bubblewrap and a new template."""
    return await _started_in_view(contender, count, False)


async def _view_again(contender: Contender, count: int) -> list[float]:
    return await _started_in_view(contender, count, True)


async def _started_in_view(contender: Contender, count: int, again: bool) -> list[float]:
    start = getattr(contender, "start_in_view", None)
    if start is None:
        raise UnsupportedError("not asked")
    return [await start(again) for _ in range(count)]


async def _memory(contender: Contender, _count: int) -> list[float]:
    """Return the private bytes of a new child."""
    await contender.stop()
    await contender.start()
    await asyncio.sleep(2)
    return [private_bytes(contender.pid())]


async def _die(contender: Contender, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        try:
            await contender.die()
        except Exception as error:
            if isinstance(error, UnsupportedError):
                raise
            seconds.append(time.perf_counter() - began)
        await contender.stop()
        await contender.start()
    return seconds


async def _ask(contender: Contender, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        await contender.ask(100)
        seconds.append((time.perf_counter() - began) / 100)
    return seconds


async def _serve(contender: Contender, count: int) -> list[float]:
    return [await contender.serve(100) for _ in range(count)]


MEASURES: dict[str, Callable[[Contender, int], Awaitable[list[float]]]] = {
    "echo": _echo,
    "reused": _reused,
    "fresh48": _fresh48,
    "kept48": _kept48,
    "fresh192": _fresh192,
    "ask": _ask,
    "serve": _serve,
    "start": _start,
    "view": _view,
    "view_again": _view_again,
    "memory": _memory,
    "die": _die,
}


def private_bytes(pid: int) -> int:
    """Return the resident memory that no other process shares."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            total += int(line.split()[1]) * 1024
    return total


def serve(contender: Contender) -> None:
    """Write results to standard output, and redirect all other output to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asyncio.run(_answer(contender, answers))


async def _answer(contender: Contender, answers: Any) -> None:
    for line in sys.stdin:
        name, count = json.loads(line)
        try:
            if name == "stop":
                await contender.stop()
                result: Any = {}
            elif name == "begin":
                began = time.perf_counter()
                await contender.start()
                result = {
                    "seconds": time.perf_counter() - began,
                    **getattr(contender, "details", {}),
                }
            else:
                result = await MEASURES[name](contender, count)
        except UnsupportedError as error:
            result = {"unsupported": str(error)}
        gc.collect()
        answers.write(json.dumps(result) + "\n")
        answers.flush()
        if name == "stop":
            return

"""What ``sandbox`` asks of every contender, in the contender's own host process.

A process reads the name of a measurement and a count from each line of its standard input and
writes one JSON document for it. Tensors are made before the clock starts.
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
    """A contender has no such thing."""


class Contender(Protocol):
    """One way to call a pack's functions."""

    async def start(self) -> None:
        """Start a child, if there is one, and have it import the pack and answer."""

    async def stop(self) -> None:
        """End the child."""

    def pid(self) -> int:
        """The child's process."""
        ...

    async def echo(self, value: int) -> Any:
        """What came."""

    async def first(self, tensor: Any) -> float:
        """One element of a tensor."""
        ...

    async def add(self, tensor: Any) -> Any:
        """The tensor plus 1, in memory of its own."""

    async def die(self) -> None:
        """Raises once the child's SIGSEGV is known."""

    async def ask(self, count: int) -> None:
        """The pack asks the host so many times, in one call."""

    async def serve(self, count: int) -> float:
        """Seconds of one call of a pack's function by the host, in a call by the pack."""
        ...


async def _echo(contender: Contender, count: int) -> list[float]:
    return await _timed(count, lambda: 7, contender.echo, warm=100)


async def _reused(contender: Contender, count: int) -> list[float]:
    """Changed in place before each call: what is handed over is the tensor, not a memory of it."""
    import torch

    tensor = torch.zeros(192 * MIB // 4)
    took = []
    for index in range(count + WARM_CALLS):
        tensor[0] = index
        began = time.perf_counter()
        found = await contender.first(tensor)
        took.append(time.perf_counter() - began)
        if found != index:
            raise AssertionError(f"read {found}, expected {index}")
    return took[WARM_CALLS:]


async def _fresh48(contender: Contender, count: int) -> list[float]:
    return await _fresh(contender, count, 48 * MIB)


async def _fresh192(contender: Contender, count: int) -> list[float]:
    return await _fresh(contender, count, 192 * MIB)


async def _fresh(contender: Contender, count: int, size: int) -> list[float]:
    import torch

    values = iter(range(count + WARM_CALLS))
    return await _timed(count, lambda: torch.full((size // 4,), float(next(values))), contender.add)


async def _kept48(contender: Contender, count: int) -> list[float]:
    """As fresh48, with every result kept: none of their memory can be used again."""
    import torch

    kept = []

    async def call(tensor: Any) -> None:
        kept.append(await contender.add(tensor))

    return await _timed(count, lambda: torch.full((48 * MIB // 4,), 1.0), call)


async def _timed(
    count: int,
    make: Callable[[], Any],
    call: Callable[[Any], Awaitable[Any]],
    warm: int = WARM_CALLS,
) -> list[float]:
    took = []
    for _ in range(count + warm):
        value = make()
        began = time.perf_counter()
        result = await call(value)
        took.append(time.perf_counter() - began)
        del result, value
    return took[warm:]


async def _start(contender: Contender, count: int) -> list[float]:
    took = []
    for _ in range(count):
        await contender.stop()
        began = time.perf_counter()
        await contender.start()
        took.append(time.perf_counter() - began)
    return took


async def _view(contender: Contender, count: int) -> list[float]:
    """As _start, in a view of the file system of its own, and with nothing kept from before."""
    return await _started_in_view(contender, count, False)


async def _view_again(contender: Contender, count: int) -> list[float]:
    return await _started_in_view(contender, count, True)


async def _started_in_view(contender: Contender, count: int, again: bool) -> list[float]:
    start = getattr(contender, "start_in_view", None)
    if start is None:
        raise UnsupportedError("not asked")
    return [await start(again) for _ in range(count)]


async def _memory(contender: Contender, _count: int) -> list[float]:
    """Bytes that belong to a new child alone."""
    await contender.stop()
    await contender.start()
    await asyncio.sleep(2)
    return [private_bytes(contender.pid())]


async def _die(contender: Contender, count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        try:
            await contender.die()
        except Exception as error:
            if isinstance(error, UnsupportedError):
                raise
            took.append(time.perf_counter() - began)
        await contender.stop()
        await contender.start()
    return took


async def _ask(contender: Contender, count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await contender.ask(100)
        took.append((time.perf_counter() - began) / 100)
    return took


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
    """Resident memory that no other process shares."""
    found = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            found += int(line.split()[1]) * 1024
    return found


def serve(contender: Contender) -> None:
    """Answer on the real standard output; everything else that prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asyncio.run(_answer(contender, answers))


async def _answer(contender: Contender, answers: Any) -> None:
    for line in sys.stdin:
        name, count = json.loads(line)
        try:
            if name == "stop":
                await contender.stop()
                found: Any = {}
            elif name == "begin":
                began = time.perf_counter()
                await contender.start()
                found = {"seconds": time.perf_counter() - began, **getattr(contender, "about", {})}
            else:
                found = await MEASURES[name](contender, count)
        except UnsupportedError as error:
            found = {"unsupported": str(error)}
        gc.collect()
        answers.write(json.dumps(found) + "\n")
        answers.flush()
        if name == "stop":
            return

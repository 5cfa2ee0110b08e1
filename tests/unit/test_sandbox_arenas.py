"""The host's arenas for one worker."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zimage_comfyui.sandbox.host.arenas import Arenas
from zimage_comfyui.sandbox.host.supervisor import Supervisor
from zimage_comfyui.sandbox.policy.policy import Policy
from zimage_comfyui.sandbox.protocol import buffer_pool as warm_module
from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.buffer_pool import BufferPool
from zimage_comfyui.sandbox.protocol.exceptions import CodecError, QuotaError
from zimage_comfyui.sandbox.protocol.shared_memory import PAGE


def test_a_worker_writes_within_its_quota() -> None:
    """It gets no more chunks than that, of a size that is one."""
    handed: list[int] = []
    arenas = Arenas(2**20, lambda number, _fd: handed.append(number))
    assert arenas.lend(2**20) == 1
    assert handed == [1]
    for size in (1, 0, -(2**20)):
        with pytest.raises(QuotaError):
            arenas.lend(size)
    arenas.drop([1, 7])
    assert arenas.lend(2**20) == 2
    arenas.close()


@pytest.mark.parametrize("place", [(2, 0, 1), (1, 2**20, 1), (1, -1, 1), (1, 0, -1), (1, 1, 2**20)])
def test_nothing_is_read_elsewhere(place: tuple[int, int, int]) -> None:
    """Neither in another chunk nor before, behind or beyond it."""
    arenas = Arenas(2**20, lambda _number, _fd: None)
    arenas.lend(2**20)
    assert arenas.copy(m.BufferRef(1, 2**20 - 1, 1, 9)) == b"\0"
    with pytest.raises(CodecError, match="no such place"):
        arenas.copy(m.BufferRef(*place, 9))
    arenas.close()


def test_what_waits_for_its_next_use_is_known() -> None:
    """What was used and has no lease; a chunk that was never used has no pages."""
    arenas = Arenas(2**30, lambda _number, _fd: None)
    assert arenas.idle_bytes == 0
    first, second = (arenas._arena.lease(4 * PAGE)[2] for _ in range(2))
    assert arenas.idle_bytes == 0
    arenas.give_back([first])
    assert arenas.idle_bytes == 4 * PAGE
    arenas.give_back([second])
    assert arenas.idle_bytes == 8 * PAGE
    third = arenas._arena.lease(PAGE)[2]
    assert arenas.idle_bytes == 7 * PAGE
    arenas.give_back([third])
    assert arenas.trim(0) == [1]
    assert arenas.idle_bytes == 0
    theirs = arenas.lend(16 * PAGE)
    assert arenas.idle_bytes == 0
    arenas.copy(m.BufferRef(theirs, PAGE, PAGE, 1))
    assert arenas.idle_bytes == 2 * PAGE
    arenas.drop([theirs])
    assert arenas.idle_bytes == 0
    arenas.close()


def test_a_server_knows_what_all_its_sandboxes_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warm buffers and arenas; packs without a process keep nothing."""
    supervisor = Supervisor(Policy(), tmp_path)
    supervisor.packs = _packs(None, 5, 7)
    monkeypatch.setattr(warm_module, "idle_bytes", lambda: 100)
    assert supervisor.idle_bytes() == 112


def test_warm_buffers_and_what_lingers_are_kept() -> None:
    """Not what is in use."""
    pool = BufferPool(2**30)
    buffer = pool.take(1)
    assert pool.idle_bytes == 0
    del buffer
    assert pool.idle_bytes == pool.unused_bytes > 0
    pool.free_later(b"", 100)
    assert pool.idle_bytes == pool.unused_bytes + 100
    pool.trim()
    assert pool.idle_bytes == 0


def _packs(*kept: int | None) -> Any:
    return {
        str(number): SimpleNamespace(
            session=None if one is None else SimpleNamespace(idle_bytes=one)
        )
        for number, one in enumerate(kept)
    }


def test_a_chunk_that_nobody_takes_leaves_no_descriptor() -> None:
    """A worker that has ended meanwhile takes none."""
    handed: list[int] = []

    def gone(_number: int, fd: int) -> None:
        handed.append(fd)
        raise EOFError

    with pytest.raises(EOFError):
        Arenas(2**20, gone).lend(2**20)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handed[0])

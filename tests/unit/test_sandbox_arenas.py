"""The host's arenas for one worker."""

from __future__ import annotations

import os

import pytest

from zimage_comfyui.sandbox import messages as m
from zimage_comfyui.sandbox.arena import QuotaError
from zimage_comfyui.sandbox.arenas import Arenas
from zimage_comfyui.sandbox.values import ValueTroubleError


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
    assert arenas.copy(m.Place(1, 2**20 - 1, 1, 9)) == b"\0"
    with pytest.raises(ValueTroubleError, match="no such place"):
        arenas.copy(m.Place(*place, 9))
    arenas.close()


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

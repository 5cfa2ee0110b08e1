"""Tensors between host and worker: what is copied, what is shared, and who can change what."""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import threading
from collections.abc import Iterator

import numpy
import pytest
import torch

from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.arena import Arena
from zimage_comfyui.sandbox.protocol.codec import Codec
from zimage_comfyui.sandbox.protocol.exceptions import QuotaError
from zimage_comfyui.sandbox.protocol.shared_memory import (
    F_GET_SEALS,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    PAGE,
    Chunk,
    make_chunk,
    only_host_writes,
    seal,
)
from zimage_comfyui.sandbox.protocol.tensor_transfer import ArenaWriter, copy_out

MIB = 2**20


def _chunk(number: int, size: int, writable: bool = False) -> Chunk:
    chunk = make_chunk(number, size)
    seal(chunk, writable)
    return chunk


@pytest.fixture
def arena() -> Iterator[Arena]:
    """Of the host: only it can write there."""
    arena = Arena(256 * MIB, _chunk)
    yield arena
    arena.close()


def _read(arena: Arena, place: m.BufferRef) -> torch.Tensor:
    """What a worker would find: a private mapping of the descriptor."""
    fd = arena.chunks[place.chunk].fd
    size = -(-place.size // PAGE) * PAGE
    mapped = mmap.mmap(
        fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, offset=place.offset
    )
    return torch.frombuffer(mapped, dtype=torch.float32, count=place.size // 4)


def _tensor(size: int = 2 * MIB, value: float = 1.0) -> torch.Tensor:
    return torch.full((size // 4,), value)


def _resident(writer: ArenaWriter, tensor: torch.Tensor) -> m.BufferRef:
    for _ in range(2):
        writer.arena.give_back(writer.put(tensor, tensor.nbytes).lease)
    return writer.put(tensor, tensor.nbytes)


class TestResidentTensors:
    """A tensor that comes again moves where the other side can read it."""

    def test_stays_in_one_place(self, arena: Arena) -> None:
        """From the second time on it has one place."""
        writer, tensor = ArenaWriter(arena), _tensor()
        places = [writer.put(tensor, tensor.nbytes) for _ in range(4)]
        assert places[0].offset != places[1].offset
        assert {(one.chunk, one.offset) for one in places[1:]} == {
            (places[1].chunk, places[1].offset)
        }
        assert len({one.lease for one in places}) == 4

    def test_is_the_same_tensor(self, arena: Arena) -> None:
        """Object, value, shape, strides and type are as they were."""
        for dtype in (torch.float32, torch.bfloat16, torch.bool, torch.complex64):
            tensor = torch.ones(3, 2**20, dtype=dtype)
            before = tensor.clone()
            _resident(ArenaWriter(arena), tensor)
            assert torch.equal(tensor, before)
            assert (tensor.shape, tensor.dtype) == (before.shape, before.dtype)
            assert tensor.stride() == before.stride()

    def test_later_changes_show(self, arena: Arena) -> None:
        """What is changed in place is there the next time, without a copy."""
        writer, tensor = ArenaWriter(arena), _tensor()
        _resident(writer, tensor)
        tensor[7] = 9.0
        tensor.view(2, -1)[1, 0] = 5.0
        found = _read(arena, writer.put(tensor, tensor.nbytes))
        assert torch.equal(found, tensor)

    def test_reader_changes_only_its_own(self, arena: Arena) -> None:
        """What a worker writes stays in its private mapping."""
        tensor = _tensor()
        found = _read(arena, _resident(ArenaWriter(arena), tensor))
        found.fill_(0)
        assert tensor.min() == 1.0

    def test_inference_tensors_stay_such(self, arena: Arena) -> None:
        """ComfyUI makes tensors in inference mode."""
        with torch.inference_mode():
            tensor = _tensor()
            place = _resident(ArenaWriter(arena), tensor)
            tensor[0] = 3.0
        assert tensor.is_inference()
        assert torch.equal(_read(arena, place), tensor)

    def test_worker_cannot_end_what_is_held(self, arena: Arena) -> None:
        """Giving back any number does not free the room in which a tensor lives."""
        writer, tensor = ArenaWriter(arena), _tensor()
        place = _resident(writer, tensor)
        for number in range(100):
            arena.give_back(number)
        other = _tensor(value=8.0)
        assert writer.put(other, other.nbytes).offset != place.offset
        assert tensor.max() == 1.0

    def test_room_is_free_once_nothing_uses_it(self, arena: Arena) -> None:
        """Tensor, views and leases have to be gone."""
        writer, tensor = ArenaWriter(arena), _tensor()
        place = _resident(writer, tensor)
        part = tensor[5:]
        arena.give_back(place.lease)
        del tensor
        gc.collect()
        assert arena.held == 2 * MIB
        assert part.min() == 1.0
        del part
        gc.collect()
        assert arena.held == 0
        assert all(chunk.empty for chunk in arena.chunks.values())

    def test_lease_outlives_the_tensor(self, arena: Arena) -> None:
        """A worker that still has it keeps its room from being used again."""
        writer, tensor = ArenaWriter(arena), _tensor()
        place = _resident(writer, tensor)
        found = _read(arena, place)
        del tensor
        gc.collect()
        other = _tensor(value=8.0)
        assert writer.put(other, other.nbytes).offset != place.offset
        assert found.max() == 1.0

    def test_outlives_the_arena(self) -> None:
        """The end of a worker takes no tensor from the host."""
        arena, tensor = Arena(64 * MIB, _chunk), _tensor()
        _resident(ArenaWriter(arena), tensor)
        arena.close()
        tensor[0] = 4.0
        assert tensor.sum() == tensor.numel() + 3

    @pytest.mark.parametrize("user", ["numpy", "view", "storage", "from numpy", "part"])
    def test_shared_memory_stays(self, arena: Arena, user: str) -> None:
        """What somebody else uses stays where it is, and what they write shows."""
        tensor, users = _tensor(), []
        if user == "numpy":
            users.append(tensor.numpy())
        elif user == "view":
            users.append(tensor[0:10])
        elif user == "storage":
            users.append(tensor.untyped_storage())
        elif user == "from numpy":
            users.append(numpy.ones(2 * MIB // 4, numpy.float32))
            tensor = torch.from_numpy(users[0])
        else:
            users.append(_tensor(4 * MIB))
            tensor = users[0][: 2 * MIB // 4]
        before = tensor.data_ptr()
        _resident(ArenaWriter(arena), tensor)
        assert tensor.data_ptr() == before
        if user != "storage":
            users[0][0] = 6.0
            assert tensor[0] == 6.0

    def test_parameters_and_graphs_stay(self, arena: Arena) -> None:
        """What gradients are computed of is not touched."""
        for tensor in (torch.nn.Parameter(_tensor()), _tensor().requires_grad_()):
            before = tensor.data_ptr()
            _resident(ArenaWriter(arena), tensor)
            assert tensor.data_ptr() == before

    def test_takes_a_part_of_the_quota(self) -> None:
        """Most of an arena is left for what is on its way."""
        arena = Arena(16 * MIB, _chunk)
        writer, tensors = ArenaWriter(arena), [_tensor() for _ in range(5)]
        for tensor in tensors:
            arena.give_back(_resident(writer, tensor).lease)
        assert arena.held == 4 * MIB
        arena.close()

    def test_never_where_others_write(self) -> None:
        """In a worker's arena, which host and worker may write, nothing settles."""
        arena = Arena(64 * MIB, lambda number, size: _chunk(number, size, writable=True))
        tensor = _tensor()
        before = tensor.data_ptr()
        _resident(ArenaWriter(arena), tensor)
        assert tensor.data_ptr() == before
        assert arena.held == 0
        arena.close()

    def test_other_memory_is_noticed(self, arena: Arena) -> None:
        """A tensor that was given other memory is handed over with what is in that."""
        writer, tensor = ArenaWriter(arena), _tensor()
        _resident(writer, tensor)
        tensor.data = _tensor(value=7.0)
        assert _read(arena, writer.put(tensor, tensor.nbytes)).min() == 7.0

    def test_new_tensor_is_not_taken_for_an_old_one(self, arena: Arena) -> None:
        """Python uses the number of an object again."""
        writer = ArenaWriter(arena)
        for value in range(20):
            tensor = _tensor(value=float(value))
            place = writer.put(tensor, tensor.nbytes)
            assert _read(arena, place).max() == value
            arena.give_back(place.lease)
            del tensor

    def test_small_tensors_are_copied(self, arena: Arena) -> None:
        """Below a mebibyte a copy costs less."""
        writer, tensor = ArenaWriter(arena), _tensor(PAGE * 8)
        before = tensor.data_ptr()
        _resident(writer, tensor)
        assert tensor.data_ptr() == before


class TestArena:
    """Leases, what is held, and seals."""

    def test_giving_back_never_waits(self) -> None:
        """The thread that reads gives back while another waits for a chunk."""
        entered, go_on = threading.Event(), threading.Event()

        def obtain(number: int, size: int) -> Chunk:
            if number > 1:
                entered.set()
                go_on.wait()
            return _chunk(number, size)

        arena = Arena(256 * MIB, obtain)
        _, _, lease = arena.lease(64 * MIB)
        waiting = threading.Thread(target=arena.lease, args=(64 * MIB,))
        waiting.start()
        entered.wait()
        assert arena.give_back(lease)
        go_on.set()
        waiting.join()
        assert arena.trim(0.0) == [1]
        arena.close()

    def test_unknown_leases(self, arena: Arena) -> None:
        """A lease ends once."""
        _, _, lease = arena.lease(10)
        assert arena.give_back(lease)
        assert not arena.give_back(lease)
        assert not arena.give_back(12345)

    def test_quota(self, arena: Arena) -> None:
        """What is held counts."""
        _, _, lease = arena.lease(200 * MIB)
        arena.hold(lease)
        with pytest.raises(QuotaError):
            arena.lease(100 * MIB)
        arena.release(lease)
        arena.lease(100 * MIB)

    def test_seals(self) -> None:
        """Nobody changes the size; nobody but the host writes into what it lends."""
        chunk = _chunk(1, MIB)
        for size in (0, 2 * MIB):
            with pytest.raises(PermissionError):
                os.ftruncate(chunk.fd, size)
        with pytest.raises(PermissionError):
            mmap.mmap(chunk.fd, PAGE)
        assert only_host_writes(chunk)
        assert fcntl.fcntl(chunk.fd, F_GET_SEALS) & (F_SEAL_SEAL | F_SEAL_SHRINK) == (
            F_SEAL_SEAL | F_SEAL_SHRINK
        )
        theirs = _chunk(2, MIB, writable=True)
        assert not only_host_writes(theirs)
        for one in (chunk, theirs):
            one.memory.close()
            os.close(one.fd)


class ArenaPort:
    """A port with one arena."""

    def __init__(self, arena: Arena) -> None:
        self.arena, self.writer = arena, ArenaWriter(arena)

    def put(self, view: object, size: int) -> m.BufferRef:
        """See ``codec.Port``."""
        return self.writer.put(view, size)

    def get(self, buffer: m.BufferRef) -> object:
        """See ``codec.Port``."""
        return copy_out(self.arena.chunks[buffer.chunk].memory, buffer)

    def reference(self, value: object) -> m.HostRef:
        """Not used here."""
        raise TypeError(value)

    dereference = reference


class TestCodec:
    """Tensors of every kind cross as they are."""

    @pytest.mark.parametrize(
        "tensor",
        [
            torch.arange(2 * MIB).reshape(2, -1).T,
            torch.arange(4 * MIB)[::2],
            torch.complex(_tensor(), _tensor(value=2.0)).conj(),
            torch.imag(torch.complex(_tensor(), _tensor(value=2.0)).conj()),
            torch.ones(2 * MIB, dtype=torch.bool),
            torch.nn.Parameter(_tensor(8 * MIB)),
            _tensor(8 * MIB).requires_grad_() * 2,
            torch.zeros(0, 5),
            torch.tensor(3.5),
            torch.arange(10)[::3],
        ],
        ids=["transposed", "strided", "conj", "neg", "bool", "parameter", "graph", "empty",
             "scalar", "inline"],
    )  # fmt: skip
    def test_round_trip(self, arena: Arena, tensor: torch.Tensor) -> None:
        """Three times each, since what comes again goes another way."""
        codec = Codec(ArenaPort(arena))
        for _ in range(3):
            found = codec.unpack(codec.pack(tensor))
            assert torch.equal(found, tensor.detach())
            assert found.dtype == tensor.dtype
            assert not found.requires_grad

    def test_arrays(self, arena: Arena) -> None:
        """NumPy's arrays are copied, whatever their order."""
        codec = Codec(ArenaPort(arena))
        for array in (numpy.arange(MIB), numpy.arange(MIB).reshape(2, -1).T, numpy.arange(9)):
            for _ in range(3):
                assert numpy.array_equal(codec.unpack(codec.pack(array)), array)

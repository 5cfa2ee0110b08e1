"""Values on their way between host and worker, and what a hostile worker may say."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import msgspec
import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zimage_comfyui.sandbox.protocol import messages as m
from zimage_comfyui.sandbox.protocol.codec import AnyType, Codec, FlexibleInputs
from zimage_comfyui.sandbox.protocol.exceptions import CodecError


class MemoryPort:
    """A port that keeps bytes in memory, and objects by number."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.objects: list[Any] = []

    def put(self, view: Any, size: int) -> m.BufferRef:
        if hasattr(view, "untyped_storage"):
            data = view.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        else:
            data = view.tobytes()
        assert len(data) == size
        self.stored.append(data)
        return m.BufferRef(0, 0, size, len(self.stored) - 1)

    def get(self, place: m.BufferRef) -> Any:
        return bytearray(self.stored[place.lease])

    def reference(self, value: Any) -> m.WorkerRef:
        self.objects.append(value)
        return m.WorkerRef(len(self.objects) - 1, type(value).__name__)

    def dereference(self, value: m.WorkerRef | m.HostRef) -> Any:
        return self.objects[value.number]


def through(value: Any) -> Any:
    """A value after both directions, over real frames."""
    codec = Codec(MemoryPort())
    frame = m.encode(m.Done(1, codec.pack(value)))
    return codec.unpack(m.from_worker(frame).value)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None))
    | st.binary(max_size=64),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=5)
        | st.tuples(inner, inner)
    ),
    max_leaves=25,
)


@given(PLAIN)
def test_plain_data_comes_out_as_it_went_in(value: Any) -> None:
    """Every type, lone surrogates and integers of any size included."""
    found = through(value)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_and_infinities_cross() -> None:
    """Floats are exact."""
    assert math.isnan(through(math.nan))
    assert through([math.inf, -math.inf, -0.0]) == [math.inf, -math.inf, 0.0]


@pytest.mark.parametrize(
    "dtype",
    ["float16", "bfloat16", "float32", "float64", "int8", "int64", "uint8", "bool", "complex64"],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (1, 64, 65, 3)])
def test_tensors_of_every_kind_cross(dtype: str, shape: tuple[int, ...]) -> None:
    """Type, shape and bytes are kept, small in the frame and large beside it."""
    value = (torch.rand(shape) * 100).to(getattr(torch, dtype))
    found = through({"samples": value})["samples"]
    assert found.dtype == value.dtype
    assert found.shape == value.shape
    assert torch.equal(found, value)


def test_views_cross_as_what_they_show() -> None:
    """Strides, transposed and expanded tensors, parameters and reversed arrays."""
    base = torch.arange(24.0).reshape(4, 6)
    assert torch.equal(through(base.t()[1:, ::2]), base.t()[1:, ::2])
    assert torch.equal(through(base[:1].expand(3, 6)), base[:1].expand(3, 6))
    assert torch.equal(through(torch.nn.Parameter(base)), base)
    array = numpy.arange(20000)[::-1]
    assert numpy.array_equal(through(array), array)
    assert through(numpy.float32(0.5)) == 0.5


def test_what_a_node_got_can_be_changed_in_place() -> None:
    """A tensor that has crossed is as writable as any."""
    through(torch.zeros(4)).add_(1)
    through(torch.zeros(40, 1000)).add_(1)


def test_objects_of_no_plain_type_are_handed_to_the_port() -> None:
    """They come back as the port says, also deep inside of others."""
    thing = object()
    assert through({"a": [(thing,)]})["a"][0][0] is thing


def test_type_names_that_equal_all_others_stay_so() -> None:
    """Nodes use them for "any type"."""

    class Anything(str):
        def __ne__(self, other: object) -> bool:
            return False

    found = through((Anything("*"), "IMAGE"))
    assert type(found[0]) is AnyType
    assert (found[0] != "IMAGE") is False
    assert type(found[1]) is str


def test_inputs_of_any_name_stay_so() -> None:
    """A dictionary that has every key, with what it says for one."""

    class Flexible(dict):
        def __contains__(self, key: object) -> bool:
            return True

        def __getitem__(self, key: object) -> Any:
            return ("IMAGE",)

    found = through(Flexible(model=("MODEL",)))
    assert type(found) is FlexibleInputs
    assert dict(found) == {"model": ("MODEL",)}
    assert "lora_7" in found
    assert found["lora_7"] == ("IMAGE",)


def test_what_contains_itself_is_refused() -> None:
    """Instead of an endless loop."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(CodecError, match="deep"):
        through(value)


IMPOSSIBLE = [
    m.Tensor("torch", "float32", [2], data=b"1234"),
    m.Tensor("torch", "float32", [-1], data=b""),
    m.Tensor("torch", "float32", [2**62, 2**62], data=b""),
    m.Tensor("torch", "load", [1], data=b"1234"),
    m.Tensor("torch", "__class__", [1], data=b"1234"),
    m.Tensor("numpy", "|O8", [1], data=b"12345678"),
    m.Tensor("numpy", "<f4,<f4", [1], data=b"12345678"),
    m.Tensor("numpy", "<M8", [1], data=b"12345678"),
    m.Tensor("pickle", "float32", [1], data=b"1234"),
    m.Tensor("torch", "float32", [1]),
    m.Tensor("torch", "float32", [1], data=b"1234", buffer=m.BufferRef(0, 0, 4, 0)),
    m.Tensor("torch", "float32", [1] * 40, data=b"1234"),
    m.TorchName("dtype", "load"),
    m.TorchName("module", "os"),
    m.TorchName("device", "cuda:99999"),
    m.BigInt("os.system"),
    m.BigInt("f" * 20_000),
    m.SurrogateText(b"\xff\xfe"),
    m.Dict([(m.List([1]), 1)]),
    m.Set([m.List([1])]),
]


@pytest.mark.parametrize("value", IMPOSSIBLE, ids=repr)
def test_what_is_impossible_is_refused(value: Any) -> None:
    """Nothing of it reaches torch or numpy."""
    frame = m.encode(m.Done(1, value))
    with pytest.raises(CodecError):
        Codec(MemoryPort()).unpack(m.from_worker(frame).value)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"not msgpack at all",
        msgspec.msgpack.encode({"@": "call", "number": 1, "what": "node"}),
        msgspec.msgpack.encode({"@": "done", "number": "1"}),
        msgspec.msgpack.encode({"@": "done", "number": 1, "value": {"@": "pickle"}}),
        msgspec.msgpack.encode({"@": "done", "number": 1, "value": [1]}),
        msgspec.msgpack.encode({"@": "os.system", "command": "id"}),
        msgspec.msgpack.encode({"__reduce__": ["os.system", ["id"]]}),
        b"\x82\xa1@\xa4done\xa6number\xcf" + b"\xff" * 8,
    ],
    ids=repr,
)
def test_frames_of_no_known_type_do_not_decode(frame: bytes) -> None:
    """Whatever a worker writes is one of the types, or an error."""
    try:
        found = m.from_worker(frame)
    except msgspec.DecodeError:
        return
    assert isinstance(found, m.Done)  # the last: a number of 64 bits, which no call has


def test_deep_frames_do_not_decode() -> None:
    """Nesting without end is an error, not the end of the process."""
    value: Any = None
    for _ in range(50):
        value = m.List([value])
    deep = m.encode(m.Done(1, value))
    inner = b"\x82\xa1@\xa1l\xa5items\x91"
    frame = deep.replace(inner * 10, inner * 200_000, 1)
    with pytest.raises((msgspec.DecodeError, RecursionError)):
        m.from_worker(frame)


@given(st.binary(max_size=200))
def test_random_bytes_never_do_anything_else(data: bytes) -> None:
    """They decode to a frame or raise the one error."""
    with contextlib.suppress(msgspec.DecodeError):
        m.from_worker(data)

"""Descriptions of packs as values: text, numbers and containers, no tensors, no objects."""

from __future__ import annotations

from typing import Any

from . import messages as m
from .codec import Codec
from .exceptions import CodecError

MAX_UNSAFE_KEYS = 4096


class DescriptionPort:
    """A port that refuses tensors and objects."""

    def put(self, view: Any, size: int) -> m.BufferRef:
        """Refuse a tensor.

        Raises:
            CodecError: always.
        """
        raise CodecError("a tensor in a description")

    def get(self, buffer: m.BufferRef) -> Any:
        """Refuse a tensor.

        Raises:
            CodecError: always.
        """
        raise CodecError("a tensor in a description")

    def reference(self, value: Any) -> m.WorkerRef | m.HostRef:
        """Refuse an object.

        Raises:
            CodecError: always.
        """
        raise CodecError(f"a {type(value).__name__} in a description")

    def dereference(self, reference: m.WorkerRef | m.HostRef) -> Any:
        """Refuse an object.

        Raises:
            CodecError: always.
        """
        raise CodecError("an object in a description")


def pack_description(value: Any) -> m.Value:
    """Serialize a part of a pack's description."""
    return Codec(DescriptionPort()).pack(value)


def unpack_description(value: m.Value) -> Any:
    """Return a part of a pack's description, which may come from a hostile pack.

    Raises:
        CodecError: the description contradicts itself.
    """
    return Codec(DescriptionPort(), MAX_UNSAFE_KEYS).unpack(value)

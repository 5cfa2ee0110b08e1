"""Values without tensors or objects, as descriptions of packs consist of."""

from __future__ import annotations

from typing import Any

from . import messages as m
from .codec import Codec, ValueTroubleError

MOST_KEYS = 4096
"""Keys that are no plain values, in what a worker sent."""


class PlainPort:
    """A port that refuses tensors and objects: a description is text."""

    def put(self, view: Any, size: int) -> m.BufferRef:
        """Refuse a tensor."""
        raise ValueTroubleError("a tensor in a description")

    def get(self, place: m.BufferRef) -> Any:
        """Refuse a tensor."""
        raise ValueTroubleError("a tensor in a description")

    def foreign(self, value: Any) -> m.WorkerRef | m.HostRef:
        """Refuse an object."""
        raise ValueTroubleError(f"a {type(value).__name__} in a description")

    def native(self, value: m.WorkerRef | m.HostRef) -> Any:
        """Refuse an object."""
        raise ValueTroubleError("an object in a description")


PLAIN_CODEC = Codec(PlainPort())


def unpack_plain(value: m.Value) -> Any:
    """Return the Python values of a description that a worker sent.

    Raises:
        ValueTroubleError: the message is malformed, or not plain.
    """
    return Codec(PlainPort(), MOST_KEYS).unpack(value)

"""Walks through values that are nested in lists, tuples and dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PLAIN_TYPES = (type(None), bool, int, float, str, bytes)


def objects_in(value: Any) -> Iterator[Any]:
    """Yield the objects inside of a value, without plain data and tensors."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from objects_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from objects_in(item)
    elif not isinstance(value, PLAIN_TYPES) and type(value).__module__ != "torch":
        yield value


def is_data(value: Any) -> bool:
    """Return whether a value consists of numbers, text and tensors."""
    return next(objects_in(value), None) is None


def to_device(value: Any, device: Any) -> Any:
    """Return the value with its tensors on a device, or as it is if the device is None."""
    if device is None:
        return value
    if type(value) in {list, tuple}:
        return type(value)(to_device(item, device) for item in value)
    if isinstance(value, dict):
        return {key: to_device(item, device) for key, item in value.items()}
    return value.to(device) if type(value).__module__ == "torch" and hasattr(value, "to") else value


def first_tensor(value: Any) -> Any:
    """Return the first tensor inside of a value, None if there is none."""
    if isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            if (tensor := first_tensor(item)) is not None:
                return tensor
        return None
    return value if hasattr(value, "untyped_storage") else None

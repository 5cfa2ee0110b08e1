"""Type checks for JSON from other people, which can hold any value anywhere."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeGuard

JsonObject: TypeAlias = dict[str, Any]
JsonList: TypeAlias = list[Any]


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Return whether a value is a JSON object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[JsonList]:
    """Return whether a value is a JSON array."""
    return isinstance(value, list)


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_link(value: object) -> TypeGuard[JsonList]:
    """Return whether a value is a link of API form: ``[node id, output slot]``."""
    return (
        is_list(value)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def as_object(value: object) -> JsonObject:
    """Return the value if it is an object, else an empty object."""
    return value if is_object(value) else {}


def as_list(value: object) -> JsonList:
    """Return the value if it is an array, else an empty array."""
    return value if is_list(value) else []


def objects_in(value: object) -> list[JsonObject]:
    """Return the objects in an array, or an empty list for any other value."""
    return [entry for entry in as_list(value) if is_object(entry)]

"""System calls that Python has no function for."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

from .numbers import machine, numbers

NO_CALL = 38
"""ENOSYS, also on machines whose numbers are not known."""


def call(name: str, *arguments: object) -> int:
    """Make a system call; integers are passed as longs, other arguments as ctypes does.

    Raises:
        OSError: the kernel's error; ENOSYS if the call does not exist.
    """
    try:
        number = numbers(machine())[name] if sys.platform == "linux" else -1
    except KeyError:
        number = -1
    if number < 0:
        raise OSError(NO_CALL, os.strerror(NO_CALL), name)
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = _function()(ctypes.c_long(number), *values)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
    return result


@cache
def _function() -> Callable[..., int]:
    """Return the function ``syscall``, which every C library has."""
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function


def prctl(option: int, *arguments: int) -> int:
    """Read or change an attribute of the calling process.

    Raises:
        OSError: the kernel's error.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return call("prctl", option, *padded)

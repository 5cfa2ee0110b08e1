"""System calls for which Python has no function."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache

from .numbers import machine, numbers

NO_CALL = 38
"""ENOSYS, also for machines whose numbers are not known."""


def call(name: str, *arguments: object) -> int:
    """Make a system call; integers are passed as longs, the rest as ctypes does.

    Raises:
        OSError: as the kernel says; ENOSYS where the call does not exist.
    """
    try:
        number = numbers(machine())[name] if sys.platform == "linux" else -1
    except KeyError:
        number = -1
    if number < 0:
        raise OSError(NO_CALL, os.strerror(NO_CALL), name)
    values = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = _function()(ctypes.c_long(number), *values)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
    return result


@cache
def _function() -> Callable[..., int]:
    """The C library's ``syscall``, which all of them have."""
    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    return function


def prctl(option: int, *arguments: int) -> int:
    """Ask for, or change, an attribute of the calling process.

    Raises:
        OSError: as the kernel says.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return call("prctl", option, *padded)

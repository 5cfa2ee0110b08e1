"""Puts a filter of system calls into force."""

from __future__ import annotations

import ctypes
import os

from . import bpf, calls
from .jail import Jail
from .kernel import call
from .numbers import ARCHITECTURES, machine, numbers
from .report import Outcome, failure

_SET_FILTER = 1
_ACTION_AVAILABLE = 2
_ALL_THREADS = 1
_GAPS = ("every system call is open to it, also to the network and to other processes",)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def available() -> bool:
    """Whether the kernel has filters that can end a process."""
    try:
        call("seccomp", _ACTION_AVAILABLE, 0, ctypes.byref(ctypes.c_uint32(bpf.KILL)))
    except OSError:
        return False
    return True


def build(jail: Jail, setting: calls.Setting, architecture: str) -> list[bpf.Instruction]:
    """The filter for one of :data:`.numbers.ARCHITECTURES`."""
    known = numbers(architecture)
    wanted = calls.rules(jail, setting)
    rules = {known[name]: rule for name, rule in wanted.items() if name in known}
    return bpf.program(ARCHITECTURES[architecture], rules, bpf.Rule(calls.ABSENT))


def apply(jail: Jail, abi: int, signals: bool) -> Outcome:
    """Confine all threads of the process, and what they start.

    Args:
        jail: what is granted.
        abi: Landlock's version in force, since the filter takes over what it cannot do.
        signals: whether Landlock keeps signals within the jail.
    """
    if machine() not in ARCHITECTURES:
        return Outcome("unavailable", f"no filter for {machine()}", _GAPS)
    code = build(jail, calls.Setting(os.getpid(), abi, signals), machine())
    data = bpf.packed(code)
    wanted = ctypes.byref(_Program(len(code), data))
    try:
        # A number that is not zero is a thread which has a filter of another descent.
        if call("seccomp", _SET_FILTER, _ALL_THREADS, wanted):
            return Outcome("failed", "another thread has other filters", _GAPS)
    except OSError as error:
        return failure(error, "seccomp", *_GAPS)
    gaps = []
    if jail.network:
        gaps.append("which addresses it connects to, this machine's among them")
    if jail.processes and not signals:
        gaps.append("its programs cannot signal one another")
    return Outcome("applied", f"{len(code)} instructions", tuple(gaps))

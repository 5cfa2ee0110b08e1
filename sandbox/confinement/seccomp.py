"""Installs a filter of system system_call_rules."""

from __future__ import annotations

import ctypes
import os

from . import bpf, system_call_rules
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
    """Return whether the kernel has filters that can kill a process."""
    try:
        call("seccomp", _ACTION_AVAILABLE, 0, ctypes.byref(ctypes.c_uint32(bpf.KILL)))
    except OSError:
        return False
    return True


def build(
    jail: Jail, setting: system_call_rules.Setting, architecture: str
) -> list[bpf.Instruction]:
    """Return the filter for one of :data:`.numbers.ARCHITECTURES`."""
    known = numbers(architecture)
    by_name = system_call_rules.rules(jail, setting)
    rules = {known[name]: rule for name, rule in by_name.items() if name in known}
    return bpf.program(ARCHITECTURES[architecture], rules, bpf.CallRule(system_call_rules.ABSENT))


def apply(jail: Jail, abi: int, signals: bool) -> Outcome:
    """Confine all threads of the process, and what they start.

    Args:
        jail: what is granted.
        abi: Landlock's version in force: the filter enforces what that version does not.
        signals: whether Landlock keeps signals inside the jail.
    """
    if machine() not in ARCHITECTURES:
        return Outcome("unavailable", f"no filter for {machine()}", _GAPS)
    code = build(jail, system_call_rules.Setting(os.getpid(), abi, signals), machine())
    data = bpf.packed(code)
    wanted = ctypes.byref(_Program(len(code), data))
    try:
        # The result is the id of a thread whose filters differ, or 0.
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

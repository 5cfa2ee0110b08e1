"""No way to more privileges, and none left.

Root keeps its user id and with it what the owner of a file may do; only Landlock protects files of
root from root. Without capabilities it is refused other users' files, signals, mounts and devices
like anybody else.

The process stays dumpable: otherwise ``/proc/self`` belongs to root, libraries of other users
cannot read it, and neither can the watcher. Confined processes are kept from tracing one another by
Landlock, which allows it only downwards.
"""

from __future__ import annotations

import ctypes
import os

from .kernel import call, prctl
from .report import Outcome, failure

_SET_NO_NEW_PRIVS = 38
_GET_NO_NEW_PRIVS = 39
_CAPBSET_READ = 23
_CAPBSET_DROP = 24
_SET_SECUREBITS = 28
_AMBIENT = 47
_AMBIENT_CLEAR_ALL = 4
_MORE_THAN_ANY = 64
_VERSION_3 = 0x20080522
# Root is nobody special, changing the user id neither gives nor keeps anything; all locked.
_SECUREBITS = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80


def forbid_more() -> Outcome:
    """Programs that the process starts get no privileges from their files."""
    gap = "set-user-id programs give their privileges"
    try:
        prctl(_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        return failure(error, "no_new_privs", gap)
    return Outcome("applied", "no_new_privs")


def drop_capabilities() -> Outcome:
    """Give up all capabilities: held, inheritable, ambient and those a program could get."""
    gap = "other users' files and processes are open to it"
    held = capabilities()
    try:
        _empty_the_rest()
        call("capset", _header(), (_Data * 2)())
        left = capabilities()
    except OSError as error:
        return failure(error, "capset", gap)
    if left:
        return Outcome("failed", f"capabilities {left:#x} remain", (gap,))
    return Outcome("applied", f"gave up {held:#x}" if held else "held none")


def capabilities() -> int:
    """The effective ones, a bit for each; 0 where they cannot be asked for."""
    data = (_Data * 2)()
    try:
        call("capget", _header(), data)
    except OSError:
        return 0
    return data[0].effective | data[0].permitted | (data[1].effective | data[1].permitted) << 32


def no_new_privs() -> bool | None:
    """Whether it is set; None where the kernel does not know it."""
    try:
        return bool(prctl(_GET_NO_NEW_PRIVS))
    except OSError:
        return None


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int32))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _header() -> object:
    return ctypes.byref(_Header(_VERSION_3, 0))


def _empty_the_rest() -> None:
    """Needs CAP_SETPCAP; who lacks it cannot gain by a program either, with no_new_privs."""
    for one in range(_MORE_THAN_ANY):
        try:
            if prctl(_CAPBSET_READ, one):
                prctl(_CAPBSET_DROP, one)
        except OSError:  # past the last one, or not permitted
            break
    for option, argument in ((_SET_SECUREBITS, _SECUREBITS), (_AMBIENT, _AMBIENT_CLEAR_ALL)):
        try:
            prctl(option, argument)
        except OSError:
            continue


def user() -> int | None:
    """The effective user id; None where there are none."""
    return os.geteuid() if hasattr(os, "geteuid") else None

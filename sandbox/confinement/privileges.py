"""Drops all privileges and prevents new ones.

Root keeps its user id and so the rights of a file's owner; only Landlock protects files of root
from root. Without capabilities, root has no access to other users' files, signals, mounts and
devices.

The process stays dumpable: otherwise ``/proc/self`` belongs to root, and neither libraries of other
users nor the host can read it. Landlock prevents confined processes from tracing one another: it
allows only the tracing of processes with the same or more restrictions.
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
# Root has no special rights, a change of the user id neither adds nor keeps any; all locked.
_SECUREBITS = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80


def forbid_more() -> Outcome:
    """Prevent that programs which the process starts get privileges from their files."""
    gap = "set-user-id programs give their privileges"
    try:
        prctl(_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        return failure(error, "no_new_privs", gap)
    return Outcome("applied", "no_new_privs")


def drop_capabilities() -> Outcome:
    """Drop all capabilities: permitted, inheritable, ambient and bounding."""
    gap = "other users' files and processes are open to it"
    before = capabilities()
    try:
        _drop_bounding_and_ambient()
        call("capset", _header(), (_Data * 2)())
        remaining = capabilities()
    except OSError as error:
        return failure(error, "capset", gap)
    if remaining:
        return Outcome("failed", f"capabilities {remaining:#x} remain", (gap,))
    return Outcome("applied", f"gave up {before:#x}" if before else "held none")


def capabilities() -> int:
    """Return the effective and permitted ones, a bit for each; 0 if they cannot be read."""
    data = (_Data * 2)()
    try:
        call("capget", _header(), data)
    except OSError:
        return 0
    return data[0].effective | data[0].permitted | (data[1].effective | data[1].permitted) << 32


def no_new_privs() -> bool | None:
    """Return whether ``no_new_privs`` is set; None if the kernel does not know it."""
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


def _drop_bounding_and_ambient() -> None:
    """Drop them as far as permitted.

    This needs CAP_SETPCAP. A process without it cannot gain any by a program either, because of
    ``no_new_privs``.
    """
    for capability in range(_MORE_THAN_ANY):
        try:
            if prctl(_CAPBSET_READ, capability):
                prctl(_CAPBSET_DROP, capability)
        except OSError:  # after the last one, or not permitted
            break
    for option, argument in ((_SET_SECUREBITS, _SECUREBITS), (_AMBIENT, _AMBIENT_CLEAR_ALL)):
        try:
            prctl(option, argument)
        except OSError:
            continue


def user() -> int | None:
    """Return the effective user id; None on systems without one."""
    return os.geteuid() if hasattr(os, "geteuid") else None
